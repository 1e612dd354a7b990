#pragma once
#include "average.h"
#include "moments.h"
#include "rectified.h"
#include "views.h"

namespace kn::op {

/// What averages of a step's moments of y are to become, by averageShare: center += share·(mean - center), then
/// variance += share·(var + (mean - center)² - variance); and y - center, with that center. The averages themselves
/// stay, so that all of a launch's blocks may read them; AverageObserved moves them.
struct CenterObserved {
  Act y;
  const float *center, *variance;
  const int32_t* updates;
  float share;
  bool warmUp;
  float* next;  ///< [2·C + 1]: center, variance, and the share that was taken
  Act centered;
};
/// slope += share·(scale·products - slope), with the share in `next`, from where the moments' averages move to what
/// they are to become. It counts the update.
struct AverageObserved {
  Values products;  ///< may be stored in the type of activations
  float scale;
  const float* next;
  float *slope, *center, *variance;
  int64_t channels;
  int32_t* updates;
};
/// Of a convolution's output variance v that moves with the filter w and with the variances u of its inputs as samples
/// have shown, by s·slope to each tap where s = dv·v / average: dw, and du as if u stretched all taps on that input. u
/// belongs to a belief, `rectified` or not, which du goes on to. With `add` gradients are added to those that are
/// there.
struct ObservedVarianceBackward {
  Filter w, slope, dw;
  int64_t groups;
  const float *mean, *var;  ///< of the belief, [groups·w.in]
  bool rectified;
  const float *variance, *average, *dvariance;
  float *dmean, *dvar;
  bool add;

  KN_HOST_DEVICE float scale(int64_t out) const { return dvariance[out] * ratio(variance[out], average[out]); }
  KN_HOST_DEVICE void put(float& gradient, float value) const { gradient = add ? gradient + value : value; }
  /// Goes on with du·u.
  KN_HOST_DEVICE void finish(int64_t input, double duByU) const {
    const Rectified r = inputMoments(mean[input], var[input], rectified);
    const double du = ratio(duByU, r.var);
    put(dmean[input], static_cast<float>(du * r.dVarByMean));
    put(dvar[input], static_cast<float>(du * r.dVarByVar));
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

struct CenteredSamples {
  Tensor centered, next;
};
CenteredSamples centerObserved(const Tensor& y, const MeanVar& averages, const Tensor& updates, double decay,
                               bool warmUp);
/// `products`: a gradient of the filter, rounded or not; `next`: of centerObserved.
void averageObserved(const Tensor& products, double scale, const Tensor& next, const Tensor& slope,
                     const MeanVar& averages, const Tensor& updates);
struct ObservedVarianceGradients {
  Tensor dw;
  MeanVar dbelief;
};
/// `to`: gradients that these are added to, in place, all three of them; or none.
ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const Tensor& slope, const MeanVar& belief,
                                                   bool rectified, const Tensor& variance, const Tensor& average,
                                                   const Tensor& dvariance, const ObservedVarianceGradients& to);

}  // namespace kn
