#pragma once
#include "moments.h"
#include "random.h"
#include "views.h"

namespace kn::op {

/// The statistics of one Kalman layer. With `hasVirtual`, x holds one virtual sample per split behind the real ones,
/// whose moments are the prior (written); else the prior is given, or null in the first layer.
struct KalmanState {
  float *priorMean, *priorVar;
  float *obsMean, *obsVar;
  float *postMean, *postVar;
  float* ratio;  ///< [2]: mean(prior variance / batch variance), and 1 where the prior was used
};

struct KalmanNorm {
  Act x;  ///< real samples, then `splits` virtual ones where `hasVirtual`
  Act y;  ///< real samples, then `splits` samples of the rectified posterior where `sample`
  int64_t splits;
  bool hasVirtual, sample, haveMoments;
  KalmanState state;
  const float *gamma, *beta;
  const float* gain;  ///< per channel; null for `fixedGain`
  float fixedGain;
  float guard, epsilon;
  bool relu;
  Random random;
  Act noise;              ///< normal values instead of `random`, where it has data
  UpdateRunning running;  ///< by the posterior
};

struct KalmanNormBackward {
  Act x, y, dy, dx;
  Act add;  ///< gradient of the real samples from elsewhere, added to dx; may have no data
  int64_t splits;
  bool hasVirtual, sample;
  KalmanState state;
  const float *gamma, *beta;
  const float* gain;
  float fixedGain;
  float epsilon;
  bool relu;
  const float *dpostMean, *dpostVar;  ///< from elsewhere; may be null
  float *dpriorMean, *dpriorVar;      ///< null where there is no given prior
  float *dgamma, *dbeta, *dgain;
};

}  // namespace kn::op

namespace kn {

struct KalmanOptions {
  int64_t splits = 1;
  bool hasVirtual = false;  ///< x carries one virtual sample per split, whose moments are the prior
  bool sample = false;      ///< y carries one sample of the rectified posterior per split
  double fixedGain = 0.1;   ///< used where the gain tensor is empty
  double epsilon = 1e-5;
  bool relu = false;
};
/// What the layer computes with: the features, and a gain per channel where it is learned.
struct KalmanLayer {
  Tensor x, gamma, beta, gain;
};
struct KalmanInput {
  MeanVar prior;        ///< empty in the first layer and where x has virtual samples
  MeanVar observation;  ///< empty unless known already
  RandomSource random;
  Tensor noise;
  double guard = 100;
  RunningAverages running;
};
struct KalmanResult {
  Tensor y;
  MeanVar prior, observation, posterior;
  Tensor ratio;  ///< [2]: guard ratio, 1 where the prior was used
};
KalmanResult kalmanNorm(const KalmanLayer& layer, const KalmanInput& input, const KalmanOptions& options);
struct KalmanGradients {
  Tensor dx, dgamma, dbeta, dgain;
  MeanVar dprior;  ///< where a prior was given
};
/// `add` is added to dx; dx gets room for `virtualSamples` behind it.
KalmanGradients kalmanNormBackward(const KalmanLayer& layer, const KalmanResult& result, const Tensor& dy,
                                   const MeanVar& dposterior, const KalmanOptions& options, const Tensor& add,
                                   int64_t virtualSamples);

}  // namespace kn
