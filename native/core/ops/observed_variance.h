#pragma once
#include "average.h"
#include "moments.h"
#include "rectified.h"
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
/// y = x - center, for each channel.
struct Center {
  Act x;
  const float* center;
  Act y;
};
/// Of a convolution's output variance v that moves with the filter w and with the variances u of its inputs as samples
/// have shown, by s·slope to each tap where s = dv·v / average: dw, and du as if u stretched all taps on that input. u
/// belongs to a belief, `rectified` or not, which du goes on to.
struct ObservedVarianceBackward {
  Filter w, slope, dw;
  int64_t groups;
  const float *mean, *var;  ///< of the belief, [groups·w.in]
  bool rectified;
  const float *variance, *average, *dvariance;
  float *dmean, *dvar;

  KN_HOST_DEVICE float scale(int64_t out) const { return dvariance[out] * ratio(variance[out], average[out]); }
  /// Goes on with du·u.
  KN_HOST_DEVICE void finish(int64_t input, double duByU) const {
    const Rectified r = inputMoments(mean[input], var[input], rectified);
    const double du = ratio(duByU, r.var);
    dmean[input] = static_cast<float>(du * r.dVarByMean);
    dvar[input] = static_cast<float>(du * r.dVarByVar);
  }

 private:
  /// What doesn't vary gives no direction.
  template <class T>
  KN_HOST_DEVICE static T ratio(T a, T b) {
    return b > 0 ? a / b : 0;
  }
};

}  // namespace kn::op

namespace kn {

void averageMoments(const MeanVar& moments, const MeanVar& averages, const Tensor& updates, double decay, bool warmUp);
/// x - center, [C]
Tensor center(const Tensor& x, const Tensor& center);
struct ObservedVarianceGradients {
  Tensor dw;
  MeanVar dbelief;
};
ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const Tensor& slope, const MeanVar& belief,
                                                   bool rectified, const Tensor& variance, const Tensor& average,
                                                   const Tensor& dvariance);

}  // namespace kn
