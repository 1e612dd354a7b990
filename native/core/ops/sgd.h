#pragma once
#include <vector>

#include "views.h"

namespace kn::op {

struct SgdParameter {
  float *w, *momentum;
  const float* gradient;
  int64_t count;
  float weightDecay;
};
/// momentum = factor·momentum + gradient + decay·w; w -= lr·momentum. With a loss scale the gradient is divided by it.
struct Sgd {
  std::vector<SgdParameter> parameters;
  const float* learningRate;
  float momentum;
  const float* lossScale;  ///< LossScale; may be null
};

}  // namespace kn::op

namespace kn {

struct SgdTensors {
  Tensor weight, gradient, momentum;
  double weightDecay = 0;
};
/// `lossScale` (may be empty): state of a loss scale, by which gradients are divided; see op::CheckFinite.
void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum,
         const Tensor& lossScale);

}  // namespace kn
