#include "kalman.h"

#include "checks.h"

namespace kn {
namespace {

/// The parts of a layer that forward and backward check alike.
struct Checked {
  op::Act x;
  int64_t real;   ///< samples without the virtual ones
  int64_t count;  ///< entries of a belief: splits·channels
  const float *gamma, *beta, *gain;
};

Checked checkLayer(Device& device, const KalmanLayer& in, const MeanVar& prior, const KalmanOptions& o) {
  constexpr const char* fn = "kalmanNorm";
  Checked layer{};
  layer.x = activation(device, in.x, {fn, "x"});
  require(o.splits >= 1, ErrorCode::InvalidArgument, fn, ": splits must be at least 1, got ", o.splits);
  layer.real = layer.x.n - (o.hasVirtual ? o.splits : 0);
  require(layer.real >= 1, ErrorCode::InvalidArgument, fn, ": x must have samples beside its ", o.splits,
          " virtual ones, got ", layer.x.n);
  checkSplits(o.splits, layer.real, {fn, "splits"});
  layer.count = o.splits * layer.x.c;
  layer.gamma = optionalVector(device, in.gamma, layer.x.c, {fn, "gamma"});
  layer.beta = optionalVector(device, in.beta, layer.x.c, {fn, "beta"});
  layer.gain = optionalVector(device, in.gain, layer.x.c, {fn, "gain"});
  if (prior.mean) {
    vector(device, prior.mean, layer.count, {fn, "prior.mean"});
    vector(device, prior.var, layer.count, {fn, "prior.variance"});
  }
  return layer;
}

op::KalmanState stateOf(const KalmanResult& r) {
  return {dataOrNull(r.prior.mean),
          dataOrNull(r.prior.var),
          r.observation.mean.data(),
          r.observation.var.data(),
          r.posterior.mean.data(),
          r.posterior.var.data(),
          r.ratio.data()};
}

}  // namespace

KalmanResult kalmanNorm(const KalmanLayer& in, const KalmanInput& given, const KalmanOptions& o) {
  constexpr const char* fn = "kalmanNorm";
  checkFloat(in.x, {fn, "x"});
  Device& device = in.x.device();
  const Checked layer = checkLayer(device, in, given.prior, o);
  require(!(o.hasVirtual && given.prior.mean), ErrorCode::InvalidArgument, fn,
          ": prior must not be given where x carries virtual samples");
  op::KalmanNorm update{};
  update.fixedGain = fraction(o.fixedGain, {fn, "gain"});
  update.epsilon = positive(o.epsilon, {fn, "epsilon"});
  require(given.guard > 0, ErrorCode::InvalidArgument, fn, ": guard must be a positive number, got ", given.guard);
  const bool have = static_cast<bool>(given.observation.mean);
  if (have) {
    vector(device, given.observation.mean, layer.count, {fn, "observation.mean"});
    vector(device, given.observation.var, layer.count, {fn, "observation.variance"});
  }
  Shape shape = in.x.shape;
  shape[0] = layer.real + (o.sample ? o.splits : 0);
  if (o.sample && given.noise) {
    Shape noise = in.x.shape;
    noise[0] = o.splits;
    update.noise = activation(device, given.noise, {fn, "noise"});
    checkShape(given.noise, noise, {fn, "noise"});
  } else if (o.sample) {
    update.random = randomOf(device, given.random, {fn, "generator"});
  }

  KalmanResult out;
  out.y = device.empty(shape, DType::F32, in.x.format);
  out.prior = o.hasVirtual ? emptyMeanVar(device, layer.count) : given.prior;
  out.observation = have ? given.observation : emptyMeanVar(device, layer.count);
  out.posterior = emptyMeanVar(device, layer.count);
  out.ratio = emptyVector(device, 2);
  update.x = layer.x;
  update.y = activation(device, out.y, {fn, "y"});
  update.splits = o.splits;
  update.hasVirtual = o.hasVirtual;
  update.sample = o.sample;
  update.haveMoments = have;
  update.state = stateOf(out);
  update.gamma = layer.gamma;
  update.beta = layer.beta;
  update.gain = layer.gain;
  update.guard = static_cast<float>(given.guard);
  update.relu = o.relu;
  update.running = runningUpdate(out.posterior, given.running, o.splits, fn);
  device.launch(update);
  return out;
}

KalmanGradients kalmanNormBackward(const KalmanLayer& in, const KalmanResult& result, const Tensor& dy,
                                   const MeanVar& dposterior, const KalmanOptions& o, const Tensor& add,
                                   int64_t virtualSamples) {
  constexpr const char* fn = "kalmanNormBackward";
  checkFloat(in.x, {fn, "x"});
  Device& device = in.x.device();
  const Checked layer = checkLayer(device, in, result.prior, o);
  require(!o.hasVirtual || result.prior.mean, ErrorCode::InvalidArgument, fn,
          ": prior must be given where x carries virtual samples");
  op::KalmanNormBackward back{};
  back.x = layer.x;
  back.y = activation(device, result.y, {fn, "y"});
  back.dy = activationLike(device, dy, result.y, {fn, "dy"});
  if (add) {
    Shape real = in.x.shape;
    real[0] = layer.real;
    checkShape(add, real, {fn, "add"});
    back.add = activation(device, add, {fn, "add"});
  }
  for (const MeanVar* belief : {&result.observation, &result.posterior}) {
    vector(device, belief->mean, layer.count, {fn, "statistics"});
    vector(device, belief->var, layer.count, {fn, "statistics"});
  }
  checkDevice(device, result.ratio, {fn, "ratio"});
  back.dpostMean = optionalVector(device, dposterior.mean, layer.count, {fn, "dposterior.mean"});
  back.dpostVar = optionalVector(device, dposterior.var, layer.count, {fn, "dposterior.variance"});

  KalmanGradients out;
  out.dx = emptyLike(device, in.x, virtualSamples);
  if (in.gamma) out.dgamma = emptyVector(device, layer.x.c);
  if (in.beta) out.dbeta = emptyVector(device, layer.x.c);
  if (in.gain) out.dgain = emptyVector(device, layer.x.c);
  if (result.prior.mean && !o.hasVirtual) out.dprior = emptyMeanVar(device, layer.count);
  back.dx = activation(device, out.dx, {fn, "dx"});
  back.splits = o.splits;
  back.hasVirtual = o.hasVirtual;
  back.sample = o.sample;
  back.state = stateOf(result);
  back.gamma = layer.gamma;
  back.beta = layer.beta;
  back.gain = layer.gain;
  back.fixedGain = static_cast<float>(o.fixedGain);
  back.epsilon = positive(o.epsilon, {fn, "epsilon"});
  back.relu = o.relu;
  back.dpriorMean = dataOrNull(out.dprior.mean);
  back.dpriorVar = dataOrNull(out.dprior.var);
  back.dgamma = dataOrNull(out.dgamma);
  back.dbeta = dataOrNull(out.dbeta);
  back.dgain = dataOrNull(out.dgain);
  device.launch(back);
  return out;
}

}  // namespace kn
