#pragma once
#include "conv2d.h"
#include "moments.h"
#include "observed_variance.h"
#include "random.h"
#include "views.h"

namespace kn::op {

/// y = relu(z·sqrt(var) + mean): `splits` samples of the rectified Gaussian.
struct SamplePrior {
  const float *mean, *var;
  Act y;
  Random random;
  Act noise;
};
struct SamplePriorBackward {
  const float *mean, *var;
  Act y, dy;
  float *dmean, *dvar;
};
/// The moments of a convolution of independent Gaussians, `rectified` or not, in closed form: what the moments over the
/// positions of a sampled image are on average (biased variance over the positions); of a `population`, over the
/// positions of all images that there are.
struct Predict {
  const float *mean, *var;  ///< [splits·w.in], before the ReLU where `rectified`
  int64_t splits, height, width;
  Filter w;
  ConvShape shape;
  bool population, rectified;
  float *outMean, *outVar;  ///< [splits·w.out]
};
struct PredictBackward {
  const float *mean, *var;
  int64_t splits, height, width;
  Filter w;
  ConvShape shape;
  bool population, rectified;
  const float *doutMean, *doutVar;  ///< doutVar null: nothing comes through the variance
  ShownSlope shown;                 ///< of a single split: in place of the closed form of the variance's gradient
  float *dmean, *dvar;
  Filter dw;

  /// What comes through the closed form of the variance; null: nothing.
  const float* closedVar() const { return shown.slope ? nullptr : doutVar; }
};
/// Mean and variance of max(x, 0) for a Gaussian x.
struct RectifyBelief {
  const float *mean, *var;
  float *outMean, *outVar;
  int64_t count;
};
struct RectifyBeliefBackward {
  const float *mean, *var, *doutMean, *doutVar;
  float *dmean, *dvar;
  int64_t count;
};

}  // namespace kn::op

namespace kn {

Tensor samplePrior(const MeanVar& prior, int64_t splits, int64_t height, int64_t width, const RandomSource& random,
                   const Tensor& noise);
MeanVar samplePriorBackward(const MeanVar& prior, const Tensor& y, const Tensor& dy);
MeanVar predict(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                const op::ConvShape& shape, bool population, bool rectified);
struct PredictGradients {
  MeanVar dbelief;
  Tensor dw;
};
PredictGradients predictBackward(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                                 const op::ConvShape& shape, bool population, bool rectified, const Tensor& dmean,
                                 const Tensor& dvariance, const ShownVariance& shown);
MeanVar rectifyBelief(const MeanVar& belief);
MeanVar rectifyBeliefBackward(const MeanVar& belief, const MeanVar& dout);

}  // namespace kn
