#pragma once
#include "adaptive.h"
#include "moments.h"
#include "views.h"

namespace kn::op {

/// The adaptive Kalman filter (adaptive.h): one belief for all splits, corrected slowly over time, fused with each
/// split's statistics by a gain that is estimated.
struct AdaptiveFilter {
  const float *priorMean, *priorVar;  ///< [C]; null where nothing is known: then N(0, 1), which the correction moves
  float* state;                       ///< [adaptive::kRows, C]
  const float* upstream;              ///< [adaptive::kRows, C], of the normalization before in the stream; may be null
  float *beliefMean, *beliefVar;      ///< [C], written: the prior, corrected
  float *obsMean, *obsVar;            ///< [splits·C], written unless they are given
  const float* gamma;                 ///< [C]; may be null
  float *postMean, *postVar;          ///< [splits·C], written: what is normalized by
  float *gainMean, *gainVar;          ///< [splits·C], written: weight of the observation
  float* normalizedVar;               ///< [C], written: gamma², what is believed of the output; may be null
  float *runningMean, *runningVar;    ///< [C], moved towards the posterior, pooled over the splits
  adaptive::Options options;

  KN_HOST_DEVICE adaptive::Prior priorOf(int64_t channel) const {
    return priorMean ? adaptive::Prior{priorMean[channel], priorVar[channel]} : adaptive::Prior{0, 1};
  }
  KN_HOST_DEVICE adaptive::Innovation upstreamOf(int64_t channel, int64_t channels) const {
    if (!upstream) return {0, 0};
    const float* const column = upstream + channel;
    return {column[adaptive::kInnovationMean * channels], column[adaptive::kInnovationVar * channels]};
  }
};
struct AdaptiveKalmanNorm {
  Act x, y;
  int64_t splits;
  bool haveMoments;
  AdaptiveFilter filter;
  const float* beta;
  bool relu;
};
struct AdaptiveKalmanNormBackward {
  Act x, dy, dx, add;
  int64_t splits;
  const float *gamma, *beta;
  const float *priorMean, *priorVar, *beliefMean, *beliefVar, *obsMean, *obsVar, *postMean, *postVar, *gainMean,
      *gainVar;
  const float *dbeliefMean, *dbeliefVar;  ///< of the belief handed on; may be null
  const float* dnormalizedVar;            ///< goes to gamma; may be null
  float *dpriorMean, *dpriorVar;          ///< null without a prior
  float *dgamma, *dbeta;
  float observationGradient;  ///< what the observation gets of the gradient beyond its gain, in [0, 1]
  float epsilon;
  bool relu;

  /// The observation's share of the gradient of a cell's statistic; all of it where there is no prior.
  KN_HOST_DEVICE float observationShare(float gain) const {
    return priorMean ? gain + observationGradient * (1 - gain) : 1;
  }
  /// What gamma gets through gamma², rounded as those do who multiply and then double.
  KN_HOST_DEVICE float throughSquare(int64_t channel) const {
    return dnormalizedVar ? 2 * (gamma[channel] * dnormalizedVar[channel]) : 0;
  }
};

}  // namespace kn::op

namespace kn {

struct AdaptiveOptions {
  int64_t splits = 1;
  double fixedGain = -1;  ///< negative: estimated
  double correction = 0.1, adaptation = 0.1, gate = 4, momentum = 0.1, epsilon = 1e-5;
  bool relu = false;
};
struct AdaptiveLayer {
  Tensor x, gamma, beta;
  MeanVar prior;  ///< [C]; empty where nothing is known
};
struct AdaptiveState {
  Tensor filter;    ///< [adaptive::kRows, C]
  Tensor upstream;  ///< as `filter`, of the normalization before in the stream; may be empty
  MeanVar running;
};
struct AdaptiveResult {
  Tensor y;
  MeanVar belief;                        ///< [C]
  MeanVar observation, posterior, gain;  ///< [splits·C]
  Tensor normalizedVar;                  ///< [C], gamma²; empty without gamma
};
/// Moves `state`. `observation` may be empty.
AdaptiveResult adaptiveKalmanNorm(const AdaptiveLayer& layer, const AdaptiveState& state, const MeanVar& observation,
                                  const AdaptiveOptions& options);
struct AdaptiveGradients {
  Tensor dx, dgamma, dbeta;
  MeanVar dprior;  ///< where a prior was given
};
struct AdaptiveBackwardOptions {
  int64_t splits = 1;
  double observationGradient = 0.5, epsilon = 1e-5;
  bool relu = false;
};
/// `add` is added to dx; dx gets room for `virtualSamples` behind it.
AdaptiveGradients adaptiveKalmanNormBackward(const AdaptiveLayer& layer, const AdaptiveResult& result, const Tensor& dy,
                                             const MeanVar& dbelief, const Tensor& dnormalizedVar,
                                             const AdaptiveBackwardOptions& options, const Tensor& add,
                                             int64_t virtualSamples);

}  // namespace kn
