#pragma once
#include <cmath>
#include <cstdint>

#include "host_device.h"

/// The arithmetic of the adaptive Kalman filter for one channel (docs/filter.md), for the kernels of every device. The
/// mean is filtered in standard deviations of the belief, the variance by its logarithm.
namespace kn::adaptive {

/// Rows of the filter's state, C values each.
enum Row {
  kOffset,
  kLogRatio,
  kMeanError,
  kMeanNoise,
  kVarError,
  kVarNoise,
  kLastMean,
  kLastVar,
  kSteps,
  kVarBias,
  kInnovationMean,
  kInnovationVar,
  kRows
};

struct Options {
  float fixedGain;   ///< negative: estimated
  float correction;  ///< momentum of offset and log ratio
  float adaptation;  ///< momentum of errors and noises
  float gate;        ///< an innovation whose square exceeds this many times its noise widens the gain
  float momentum;    ///< of the running averages
  float epsilon;     ///< added to variances
};

/// A momentum that begins as a plain average; 0 stays 0.
KN_HOST_DEVICE inline double weightOf(float momentum, double steps) {
  const double average = 1 / (steps + 1);
  return momentum <= 0 ? 0 : momentum > average ? momentum : average;
}

/// How far an innovation of this square moves the belief: error / (error + noise), the Kalman gain.
KN_HOST_DEVICE inline double gainOf(double square, double error, double noise, const Options& o) {
  if (o.fixedGain >= 0) return o.fixedGain;
  const double excess = square - o.gate * noise;
  const double p = fmax(fmax(error, excess), 0.0);
  return p / (p + noise + 1e-6);
}

/// A channel's belief and what is known of its quality, before a step.
struct Belief {
  double mean, logVar;  ///< logVar: of variance + epsilon
  double sigma;
  double meanError, meanNoise, varError, varNoise;
  double varBias;  ///< by which the logarithm of a split's variance is expected to differ from logVar

  KN_HOST_DEVICE double var(const Options& o) const { return fmax(exp(logVar) - o.epsilon, 0.0); }
};

/// Of one split.
struct Fused {
  double mean, logVar, gainMean, gainVar;
  double innovation, logInnovation;

  KN_HOST_DEVICE double var(const Options& o) const { return fmax(exp(logVar) - o.epsilon, 0.0); }
};

/// Sums over the splits: innovations i and their squares, posterior means in sigmas, variances.
struct Tally {
  double i = 0, i2 = 0, j = 0, j2 = 0, var = 0, mean = 0, mean2 = 0, postVar = 0;

  KN_HOST_DEVICE void add(const Fused& f, const Belief& b, double obsVar, const Options& o) {
    add(f.innovation, f.logInnovation, (f.mean - b.mean) / b.sigma, obsVar, f.var(o));
  }
  KN_HOST_DEVICE void add(double innovation, double logInnovation, double ofMean, double obsVar, double ofVar) {
    i += innovation;
    i2 += innovation * innovation;
    j += logInnovation;
    j2 += logInnovation * logInnovation;
    var += obsVar;
    mean += ofMean;
    mean2 += ofMean * ofMean;
    postVar += ofVar;
  }
};

/// One channel's column of the state.
struct Channel {
  float* state;
  int64_t channels, channel;

  KN_HOST_DEVICE float& operator[](Row row) const { return state[row * channels + channel]; }
};

/// The prior of the channel, before any correction.
struct Prior {
  double mean, var;
};

/// How far all splits together were from what was believed of them in a step: mean and variance, observed less
/// believed.
struct Innovation {
  double mean, var;
};

/// Whether the step is the first, whose own statistics correct the belief; see prime().
KN_HOST_DEVICE inline bool primes(const Channel& c, const Options& o) { return c[kSteps] == 0 && o.correction > 0; }

KN_HOST_DEVICE inline Belief beliefOf(const Prior& prior, const Channel& c, const Options& o) {
  const double spread = prior.var + o.epsilon;
  Belief b;
  b.mean = prior.mean + c[kOffset] * sqrt(spread);
  b.logVar = log(spread) + c[kLogRatio];
  b.sigma = exp(0.5 * b.logVar);
  // A primed belief is the mean of what it is fused with: no split knows better.
  const double noise = primes(c, o) ? INFINITY : 0;
  b.meanError = c[kMeanError];
  b.meanNoise = c[kMeanNoise] + noise;
  b.varError = c[kVarError];
  b.varNoise = c[kVarNoise] + noise;
  b.varBias = o.fixedGain >= 0 ? 0 : c[kVarBias];
  return b;
}

/// The first step's correction, by the statistics of all its splits: from then on the belief starts where they are.
KN_HOST_DEVICE inline void prime(const Prior& prior, double pooledMean, double pooledVar, const Channel& c,
                                 const Options& o) {
  const double spread = prior.var + o.epsilon;
  const double offset = (pooledMean - prior.mean) / sqrt(spread), ratio = log((pooledVar + o.epsilon) / spread);
  if (!(offset - offset == 0) || !(ratio - ratio == 0)) return;  // not finite
  c[kOffset] = static_cast<float>(offset);
  c[kLogRatio] = static_cast<float>(ratio);
}

KN_HOST_DEVICE inline Fused fuse(const Belief& b, double obsMean, double obsVar, const Options& o) {
  Fused f;
  f.innovation = (obsMean - b.mean) / b.sigma;
  f.logInnovation = log(obsVar + o.epsilon) - b.logVar - b.varBias;
  f.gainMean = gainOf(f.innovation * f.innovation, b.meanError, b.meanNoise, o);
  f.gainVar = gainOf(f.logInnovation * f.logInnovation, b.varError, b.varNoise, o);
  f.mean = b.mean + f.gainMean * (obsMean - b.mean);
  f.logVar = b.logVar + f.gainVar * f.logInnovation;
  return f;
}

/// Error and noise of innovations with these sums. Of several splits by their mean and spread; of a single one by the
/// last one before it: noise is new each time, the belief's error stays.
struct Quality {
  double error, noise;
};
KN_HOST_DEVICE inline Quality qualityOf(double sum, double squares, int64_t splits, double last, bool hasLast) {
  if (splits == 1) {
    const double d = sum - last;
    return hasLast ? Quality{sum * last, 0.5 * d * d} : Quality{0, 0};
  }
  const double count = static_cast<double>(splits), mean = sum / count, noise = squares / count - mean * mean;
  return {mean * mean - noise / count, noise > 0 ? noise : 0};
}

KN_HOST_DEVICE inline void follow(float& value, double target, double weight) {
  value = static_cast<float>(value + weight * (target - value));
}

/// Moves state and running averages by a step's sums. What isn't finite moves nothing.
///
/// `upstream`: the innovation of the normalization before in the same residual stream, in this step. What it explains
/// of this one's is for that normalization to correct, whose belief the prior is made of: if each corrected all that it
/// sees, a stream of L normalizations would move by L corrections.
KN_HOST_DEVICE inline void advance(const Prior& prior, const Belief& b, const Tally& t, int64_t splits,
                                   const Innovation& upstream, const Channel& c, const Options& o, float& runningMean,
                                   float& runningVar) {
  const double count = static_cast<double>(splits), steps = c[kSteps];
  const double innovation = t.i / count;
  // Of the means between splits. A split alone is compared with the belief in their place.
  const double spread = t.i2 / count - (splits > 1 ? innovation * innovation : 0);
  const double variance = exp(b.logVar) * (spread > 0 ? spread : 0);
  const double logRatio = log(t.var / count + variance + o.epsilon) - b.logVar;
  const double postMean = t.mean / count, postSpread = t.mean2 / count - postMean * postMean;
  const double postVar = t.postVar / count + exp(b.logVar) * (postSpread > 0 ? postSpread : 0);
  const double all = innovation + spread + logRatio + postMean + postVar + t.j2 + upstream.mean + upstream.var;
  if (!(all - all == 0)) {  // infinite or NaN
    c[kInnovationMean] = c[kInnovationVar] = 0;
    return;
  }
  const Quality ofMean = qualityOf(t.i, t.i2, splits, c[kLastMean], steps > 0);
  const Quality ofVar = qualityOf(t.j, t.j2, splits, c[kLastVar], steps > 0);
  const double average = weightOf(o.momentum, steps), adapt = weightOf(o.adaptation, steps);
  const double correct = weightOf(o.correction, steps);
  follow(runningMean, b.mean + postMean * b.sigma, average);
  follow(runningVar, postVar, average);
  const Prior informed{prior.mean + upstream.mean, fmax(prior.var + upstream.var, 0.0)};
  const Belief expected = beliefOf(informed, c, o);
  const double shift = innovation * b.sigma;
  c[kOffset] += static_cast<float>(correct * (shift - (expected.mean - b.mean)) / sqrt(informed.var + o.epsilon));
  c[kLogRatio] += static_cast<float>(correct * (logRatio - (expected.logVar - b.logVar)));
  c[kInnovationMean] = static_cast<float>(shift);
  c[kInnovationVar] = static_cast<float>(exp(b.logVar) * expm1(logRatio));
  follow(c[kMeanError], ofMean.error, adapt);
  follow(c[kMeanNoise], ofMean.noise, adapt);
  follow(c[kVarError], ofVar.error, adapt);
  follow(c[kVarNoise], ofVar.noise, adapt);
  follow(c[kVarBias], t.j / count + b.varBias - logRatio, adapt);
  c[kLastMean] = static_cast<float>(t.i / count);
  c[kLastVar] = static_cast<float>(t.j / count);
  c[kSteps] = static_cast<float>(steps + 1);
}

// --- backward -------------------------------------------------------------------------------------------------------

/// What flows back through the statistics of one cell: dx = scale·(g + shift) + slope·(x - postMean) + offset, and to
/// the belief.
struct CellGradient {
  double shift, slope, offset, dmean, dlogVar;
};

/// `g`, `gx`: sums of the gradient behind the ReLU, and of it times x - postMean. `weightMean`, `weightVar`: the
/// observation's share of the gradient.
KN_HOST_DEVICE inline CellGradient cellGradient(double g, double gx, double scale, double rows, double postMean,
                                                double obsMean, double obsVar, double weightMean, double weightVar,
                                                double epsilon) {
  const double dlogVar = -0.5 * scale * gx;
  CellGradient d;
  d.shift = -weightMean * g / rows;
  d.slope = 2 * weightVar * dlogVar / ((obsVar + epsilon) * rows);
  d.offset = d.slope * (postMean - obsMean);
  d.dmean = -(1 - weightMean) * scale * g;
  d.dlogVar = (1 - weightVar) * dlogVar;
  return d;
}

/// From the belief's gradient to the prior's.
struct PriorGradient {
  double mean, var;
};
KN_HOST_DEVICE inline PriorGradient priorGradient(double dmean, double dlogVar, double priorMean, double priorVar,
                                                  double beliefMean, double epsilon) {
  const double spread = priorVar + epsilon;
  return {dmean, dlogVar / spread + dmean * (beliefMean - priorMean) / (2 * spread)};
}

}  // namespace kn::adaptive
