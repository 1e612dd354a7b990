#pragma once
#include <cmath>
#include <vector>

#include "host_device.h"
#include "views.h"

namespace kn {

/// How much Adam's moments fall short after `steps` steps: learning rate over the first moment's share, and one over
/// the root of the second's.
struct AdamCorrection {
  float rate, second;
};

/// By repeated squaring, in double: the same bits on every device, and no loss where 1 - beta^t is small.
KN_HOST_DEVICE inline double powerOf(double base, int32_t exponent) {
  double power = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) power *= base;
    base *= base;
  }
  return power;
}

KN_HOST_DEVICE inline AdamCorrection adamCorrection(float learningRate, double beta1, double beta2, int32_t steps) {
  return {static_cast<float>(learningRate / (1 - powerOf(beta1, steps))),
          static_cast<float>(1 / sqrt(1 - powerOf(beta2, steps)))};
}

}  // namespace kn

namespace kn::op {

struct AdamParameter {
  float *w, *first, *second;
  const float* gradient;
  void* rounded;  ///< the weights in `Adam::roundedType`, written too; may be null
  int32_t count;
  float weightDecay;
  float rateFactor;  ///< on the learning rate
};
/// Counts the step, t; then with g = gradient + decay·w, or decoupled: w -= lr·decay·w and g = gradient,
/// m = β1·m + (1 - β1)·g, v = β2·v + (1 - β2)·g², w -= lr·m / (1 - β1^t) / (sqrt(v / (1 - β2^t)) + epsilon).
/// With a loss scale the gradient is divided by it.
struct Adam {
  std::vector<AdamParameter> parameters;
  const float* learningRate;
  int32_t* steps;
  double beta1, beta2;
  float epsilon;
  bool decoupled;
  const float* lossScale;  ///< LossScale; may be null
  DType roundedType;
};

}  // namespace kn::op

namespace kn {

struct AdamTensors {
  Tensor weight, gradient, first, second;
  double weightDecay = 0, rateFactor = 1;
};
/// Hyper-parameters of op::Adam.
struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool decoupled = false;
};
/// `steps` (int32): how many there were, counted where the step isn't left out. `lossScale` (may be empty): as of sgd.
void adam(const std::vector<AdamTensors>& parameters, const Tensor& learningRate, const Tensor& steps,
          const AdamOptions& options, const Tensor& lossScale);

}  // namespace kn
