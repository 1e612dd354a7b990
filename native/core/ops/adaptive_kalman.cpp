#include "adaptive_kalman.h"

#include "checks.h"

namespace kn {
namespace {

/// What forward and backward check alike.
struct Layer {
  op::Act x;
  int64_t cells;  ///< splits·channels
  const float *gamma, *beta, *priorMean, *priorVar;
};

Layer checkLayer(Device& device, const AdaptiveLayer& in, int64_t splits) {
  constexpr const char* fn = "adaptiveKalmanNorm";
  Layer layer{};
  layer.x = activation(device, in.x, {fn, "x"});
  checkSplits(splits, layer.x.n, {fn, "splits"});
  layer.cells = splits * layer.x.c;
  layer.gamma = optionalVector(device, in.gamma, layer.x.c, {fn, "gamma"});
  layer.beta = optionalVector(device, in.beta, layer.x.c, {fn, "beta"});
  layer.priorMean = optionalVector(device, in.prior.mean, layer.x.c, {fn, "prior.mean"});
  layer.priorVar = optionalVector(device, in.prior.var, layer.x.c, {fn, "prior.variance"});
  return layer;
}

}  // namespace

AdaptiveResult adaptiveKalmanNorm(const AdaptiveLayer& in, const AdaptiveState& state, const MeanVar& observation,
                                  const AdaptiveOptions& o) {
  constexpr const char* fn = "adaptiveKalmanNorm";
  checkFloat(in.x, {fn, "x"});
  Device& device = in.x.device();
  const Layer layer = checkLayer(device, in, o.splits);
  const int64_t channels = layer.x.c;
  op::AdaptiveKalmanNorm launch{};
  op::AdaptiveFilter& filter = launch.filter;
  checkFloat(state.filter, {fn, "state"});
  checkDevice(device, state.filter, {fn, "state"});
  checkShape(state.filter, Shape{adaptive::kRows, channels}, {fn, "state"});
  filter.state = state.filter.data();
  if (state.upstream) {
    checkFloat(state.upstream, {fn, "upstream"});
    checkDevice(device, state.upstream, {fn, "upstream"});
    checkShape(state.upstream, Shape{adaptive::kRows, channels}, {fn, "upstream"});
    filter.upstream = state.upstream.data();
  }
  filter.runningMean = vector(device, state.running.mean, channels, {fn, "runningMean"});
  filter.runningVar = vector(device, state.running.var, channels, {fn, "runningVar"});
  const bool adaptiveGain = o.fixedGain < 0;
  if (!adaptiveGain) fraction(o.fixedGain, {fn, "gain"});
  filter.options = {adaptiveGain ? -1.0f : static_cast<float>(o.fixedGain),
                    fraction(o.correction, {fn, "correction"}),
                    fraction(o.adaptation, {fn, "adaptation"}),
                    positive(o.gate, {fn, "gate"}),
                    fraction(o.momentum, {fn, "momentum"}),
                    positive(o.epsilon, {fn, "epsilon"})};
  const bool have = static_cast<bool>(observation.mean);
  if (have) {
    vector(device, observation.mean, layer.cells, {fn, "observation.mean"});
    vector(device, observation.var, layer.cells, {fn, "observation.variance"});
  }

  AdaptiveResult out;
  out.y = emptyLike(device, in.x);
  out.belief = emptyMeanVar(device, channels);
  out.observation = have ? observation : emptyMeanVar(device, layer.cells);
  out.posterior = emptyMeanVar(device, layer.cells);
  out.gain = emptyMeanVar(device, layer.cells);
  if (in.gamma) out.normalizedVar = emptyVector(device, channels);
  filter.priorMean = layer.priorMean;
  filter.priorVar = layer.priorVar;
  filter.beliefMean = out.belief.mean.data();
  filter.beliefVar = out.belief.var.data();
  filter.obsMean = out.observation.mean.data();
  filter.obsVar = out.observation.var.data();
  filter.postMean = out.posterior.mean.data();
  filter.postVar = out.posterior.var.data();
  filter.gainMean = out.gain.mean.data();
  filter.gainVar = out.gain.var.data();
  filter.gamma = layer.gamma;
  filter.normalizedVar = dataOrNull(out.normalizedVar);
  launch.x = layer.x;
  launch.y = activation(device, out.y, {fn, "y"});
  launch.splits = o.splits;
  launch.haveMoments = have;
  launch.beta = layer.beta;
  launch.relu = o.relu;
  device.launch(launch);
  return out;
}

AdaptiveGradients adaptiveKalmanNormBackward(const AdaptiveLayer& in, const AdaptiveResult& result, const Tensor& dy,
                                             const MeanVar& dbelief, const Tensor& dnormalizedVar,
                                             const AdaptiveBackwardOptions& o, const Tensor& add,
                                             int64_t virtualSamples) {
  constexpr const char* fn = "adaptiveKalmanNormBackward";
  checkFloat(in.x, {fn, "x"});
  Device& device = in.x.device();
  const Layer layer = checkLayer(device, in, o.splits);
  const int64_t channels = layer.x.c;
  op::AdaptiveKalmanNormBackward back{};
  back.dy = activationLike(device, dy, in.x, {fn, "dy"});
  if (add) back.add = activationLike(device, add, in.x, {fn, "add"});
  back.beliefMean = vector(device, result.belief.mean, channels, {fn, "beliefMean"});
  back.beliefVar = vector(device, result.belief.var, channels, {fn, "beliefVar"});
  back.obsMean = vector(device, result.observation.mean, layer.cells, {fn, "observationMean"});
  back.obsVar = vector(device, result.observation.var, layer.cells, {fn, "observationVar"});
  back.postMean = vector(device, result.posterior.mean, layer.cells, {fn, "posteriorMean"});
  back.postVar = vector(device, result.posterior.var, layer.cells, {fn, "posteriorVar"});
  back.gainMean = vector(device, result.gain.mean, layer.cells, {fn, "gainMean"});
  back.gainVar = vector(device, result.gain.var, layer.cells, {fn, "gainVar"});
  back.dbeliefMean = optionalVector(device, dbelief.mean, channels, {fn, "dbeliefMean"});
  back.dbeliefVar = optionalVector(device, dbelief.var, channels, {fn, "dbeliefVar"});
  back.dnormalizedVar = optionalVector(device, dnormalizedVar, channels, {fn, "dnormalizedVar"});
  back.observationGradient = fraction(o.observationGradient, {fn, "observationGradient"});
  back.epsilon = positive(o.epsilon, {fn, "epsilon"});

  AdaptiveGradients out;
  out.dx = emptyLike(device, in.x, virtualSamples);
  if (in.gamma) out.dgamma = emptyVector(device, channels);
  if (in.beta) out.dbeta = emptyVector(device, channels);
  if (in.prior.mean) out.dprior = emptyMeanVar(device, channels);
  back.x = layer.x;
  back.dx = activation(device, out.dx, {fn, "dx"});
  back.splits = o.splits;
  back.gamma = layer.gamma;
  back.beta = layer.beta;
  back.priorMean = layer.priorMean;
  back.priorVar = layer.priorVar;
  back.dpriorMean = dataOrNull(out.dprior.mean);
  back.dpriorVar = dataOrNull(out.dprior.var);
  back.dgamma = dataOrNull(out.dgamma);
  back.dbeta = dataOrNull(out.dbeta);
  back.relu = o.relu;
  device.launch(back);
  return out;
}

}  // namespace kn
