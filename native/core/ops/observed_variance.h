#pragma once
#include "average.h"
#include "moments.h"
#include "views.h"

namespace kn::op {

/// Moments of a step's samples into averages, by averageShare: center += share·(mean - center), then
/// variance += share·(var + (mean - center)² - variance).
struct AverageMoments {
  const float *mean, *var;
  float *center, *variance;
  int64_t channels;
  const int32_t* updates;
  float share;
  bool warmUp;
};
/// Of a convolution's output variance v that moves with the filter w and with the variances u of its inputs as samples
/// have shown, by s·slope to each tap where s = dv·v / average: dw, and du as if u stretched all taps on that input.
struct ObservedVarianceBackward {
  Filter w, slope, dw;
  int64_t groups;
  const float* input;  ///< u, [groups·w.in]
  const float *variance, *average, *dvariance;
  float* dinput;

  /// What nothing has varied by gives no direction.
  KN_HOST_DEVICE static float ratio(float a, float b) { return b > 0 ? a / b : 0; }
};

}  // namespace kn::op

namespace kn {

void averageMoments(const MeanVar& moments, const MeanVar& averages, const Tensor& updates, double decay, bool warmUp);
struct ObservedVarianceGradients {
  Tensor dw, dinput;
};
ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const Tensor& slope, const Tensor& input,
                                                   const Tensor& variance, const Tensor& average,
                                                   const Tensor& dvariance);

}  // namespace kn
