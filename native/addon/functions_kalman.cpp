#include "functions.h"

/// Bindings of kalman.cpp and transition.cpp.
namespace kn::addon {

template <>
KalmanOptions convert(const Argument& a) {
  KalmanOptions options;
  options.splits = a.get<int64_t>("splits");
  options.tail = a.get<bool>("tail");
  options.sample = a.get<bool>("sample");
  options.gain = a.get<double>("gain");
  options.guard = a.get<double>("guard");
  options.epsilon = a.get<double>("epsilon");
  options.relu = a.get<bool>("relu");
  return options;
}

template <>
KalmanInput convert(const Argument& a) {
  const auto maybe = [&](const char* name) { return a.get<Tensor>(name, Presence::Optional); };
  KalmanInput input;
  input.x = a.get<Tensor>("x");
  input.gamma = maybe("gamma");
  input.beta = maybe("beta");
  input.gain = maybe("gain");
  input.prior = {maybe("priorMean"), maybe("priorVar")};
  input.observation = {maybe("observationMean"), maybe("observationVar")};
  input.random = a.get<RandomSource>("random", Presence::Optional);
  input.noise = maybe("noise");
  return input;
}

template <>
KalmanResult convert(const Argument& a) {
  const auto maybe = [&](const char* name) { return a.get<Tensor>(name, Presence::Optional); };
  KalmanResult result;
  result.y = a.get<Tensor>("y");
  result.prior = {maybe("priorMean"), maybe("priorVar")};
  result.observation = {a.get<Tensor>("observationMean"), a.get<Tensor>("observationVar")};
  result.posterior = {a.get<Tensor>("posteriorMean"), a.get<Tensor>("posteriorVar")};
  result.ratio = a.get<Tensor>("ratio");
  return result;
}

Napi::Value toJs(Call& call, const KalmanResult& r) {
  return object(call, {{"y", r.y},
                       {"priorMean", r.prior.mean},
                       {"priorVar", r.prior.var},
                       {"observationMean", r.observation.mean},
                       {"observationVar", r.observation.var},
                       {"posteriorMean", r.posterior.mean},
                       {"posteriorVar", r.posterior.var},
                       {"ratio", r.ratio}});
}

Napi::Value toJs(Call& call, const KalmanGradients& g) {
  return object(call, {{"dx", g.dx},
                       {"dgamma", g.dgamma},
                       {"dbeta", g.dbeta},
                       {"dgain", g.dgain},
                       {"dpriorMean", g.dprior.mean},
                       {"dpriorVar", g.dprior.var}});
}

Napi::Value toJs(Call& call, const TransitionGradients& g) {
  return object(call, {{"dmean", g.dbelief.mean}, {"dvar", g.dbelief.var}, {"dw", g.dw}});
}

const Bindings& kalmanFunctions() {
  static const Bindings table{
      bind<&kalmanUpdate>("kalmanUpdate", "input", "options"),
      bind<&kalmanUpdateBackward>("kalmanUpdateBackward", "input", "result", "dy", "dposteriorMean?", "dposteriorVar?",
                                  "options", "add?", "extraSamples"),
      bind<&samplePrior>("samplePrior", "mean", "variance", "splits", "height", "width", "random?", "noise?"),
      bind<&samplePriorBackward>("samplePriorBackward", "mean", "variance", "y", "dy"),
      bind<&transition>("transition", "mean", "variance", "w", "splits", "height", "width", "shape"),
      bind<&transitionBackward>("transitionBackward", "mean", "variance", "w", "splits", "height", "width", "shape",
                                "dmean", "dvariance"),
  };
  return table;
}

}  // namespace kn::addon
