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
/// How the variance v of a convolution's output moves with its filter, as samples have shown: by
/// d log v = slope / average · dw; and with an input's variance u as if u stretched all taps on that input.
struct ShownSlope {
  const float* slope;               ///< laid out as the filter; null: nothing has been shown
  const float *variance, *average;  ///< [out]: v, and what it was for the slope

  /// The gradient of a tap is its slope times this.
  KN_HOST_DEVICE float scale(int64_t out, float dvariance) const {
    return dvariance * ratio(variance[out], average[out]);
  }
  /// du, from Σ dw·w over the taps on the input.
  KN_HOST_DEVICE static double ofInput(double products, double u) { return ratio(products / 2, u); }

 private:
  /// What doesn't vary gives no direction.
  template <class T>
  KN_HOST_DEVICE static T ratio(T a, T b) {
    return b > 0 ? a / b : 0;
  }
};
/// The gradient through a variance alone: dw, and du of the inputs, which belong to a belief, `rectified` or not, that
/// it goes on to. Where the closed form's mean has a gradient, too: PredictBackward.
struct ObservedVarianceBackward {
  Filter w, dw;
  int64_t groups;
  const float *mean, *var;  ///< of the belief, [groups·w.in]
  bool rectified;
  ShownSlope shown;
  const float* dvariance;
  float *dmean, *dvar;

  KN_HOST_DEVICE float scale(int64_t out) const { return shown.scale(out, dvariance[out]); }
  /// Goes on with Σ dw·w of an input.
  KN_HOST_DEVICE void finish(int64_t input, double products) const {
    const Rectified r = inputMoments(mean[input], var[input], rectified);
    const double du = ShownSlope::ofInput(products, r.var);
    dmean[input] = static_cast<float>(du * r.dVarByMean);
    dvar[input] = static_cast<float>(du * r.dVarByVar);
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
/// Of ShownSlope; without `slope` there is nothing.
struct ShownVariance {
  Tensor slope, variance, average;
};
op::ShownSlope shownSlope(Device& device, const ShownVariance& shown, const Tensor& w, const char* fn);
struct ObservedVarianceGradients {
  Tensor dw;
  MeanVar dbelief;
};
ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const MeanVar& belief, bool rectified,
                                                   const ShownVariance& shown, const Tensor& dvariance);

}  // namespace kn
