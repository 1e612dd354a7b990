#pragma once
#include <vector>

#include "views.h"

namespace kn::op {

struct SgdParameter {
  float *w, *momentum;
  const float* gradient;
  void* rounded;  ///< the weights in `Sgd::roundedType`, written too; may be null
  int32_t count;
  float weightDecay;
  float rateFactor;  ///< on the learning rate
};
/// v = momentum·v + gradient + decay·w; w -= lr·v, with Nesterov's momentum w -= lr·(gradient + decay·w + momentum·v).
/// With a loss scale the gradient is divided by it.
struct Sgd {
  std::vector<SgdParameter> parameters;
  const float* learningRate;
  float momentum;
  bool nesterov;
  const float* lossScale;  ///< LossScale; may be null
  DType roundedType;
};

}  // namespace kn::op

namespace kn {

struct SgdTensors {
  Tensor weight, gradient, momentum;
  double weightDecay = 0, rateFactor = 1;
};
/// `lossScale` (may be empty): state of a loss scale, by which gradients are divided; see op::CheckFinite.
void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum, bool nesterov,
         const Tensor& lossScale);

}  // namespace kn
