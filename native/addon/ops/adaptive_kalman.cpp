#include "../../core/ops/adaptive_kalman.h"
#include "../binding.h"

namespace kn::addon {

template <>
struct Read<AdaptiveLayer> {
  static constexpr size_t parameters = 5;
  static AdaptiveLayer from(Call& call) {
    return {call.next<Tensor>(), call.next<Tensor>(), call.next<Tensor>(), Read<MeanVar>::from(call)};
  }
};

template <>
struct Read<AdaptiveState> {
  static constexpr size_t parameters = 4;
  static AdaptiveState from(Call& call) {
    return {call.next<Tensor>(), call.next<Tensor>(), Read<MeanVar>::from(call)};
  }
};

template <>
struct Read<AdaptiveOptions> {
  static constexpr size_t parameters = 8;
  static AdaptiveOptions from(Call& call) {
    AdaptiveOptions options;
    options.splits = call.next<int64_t>();
    options.fixedGain = call.next<double>();
    options.correction = call.next<double>();
    options.adaptation = call.next<double>();
    options.gate = call.next<double>();
    options.momentum = call.next<double>();
    options.epsilon = call.next<double>();
    options.relu = call.next<bool>();
    return options;
  }
};

template <>
struct Read<AdaptiveResult> {
  static constexpr size_t parameters = 8;
  static AdaptiveResult from(Call& call) {
    return {
        {}, Read<MeanVar>::from(call), Read<MeanVar>::from(call), Read<MeanVar>::from(call), Read<MeanVar>::from(call),
        {}};
  }
};

template <>
struct Read<AdaptiveBackwardOptions> {
  static constexpr size_t parameters = 4;
  static AdaptiveBackwardOptions from(Call& call) {
    AdaptiveBackwardOptions options;
    options.splits = call.next<int64_t>();
    options.observationGradient = call.next<double>();
    options.epsilon = call.next<double>();
    options.relu = call.next<bool>();
    return options;
  }
};

Napi::Value toJs(Call& call, const AdaptiveResult& r) {
  return object(call, {{"y", r.y},
                       {"beliefMean", r.belief.mean},
                       {"beliefVar", r.belief.var},
                       {"observationMean", r.observation.mean},
                       {"observationVar", r.observation.var},
                       {"posteriorMean", r.posterior.mean},
                       {"posteriorVar", r.posterior.var},
                       {"gainMean", r.gain.mean},
                       {"gainVar", r.gain.var},
                       {"normalizedVar", r.normalizedVar}});
}

Napi::Value toJs(Call& call, const AdaptiveGradients& g) {
  return object(call, {{"dx", g.dx},
                       {"dgamma", g.dgamma},
                       {"dbeta", g.dbeta},
                       {"dpriorMean", g.dprior.mean},
                       {"dpriorVar", g.dprior.var}});
}

namespace {

const Functions functions{
    bind<&adaptiveKalmanNorm>("adaptiveKalmanNorm", "x", "gamma?", "beta?", "priorMean?", "priorVar?", "state",
                              "upstream?", "runningMean", "runningVar", "observationMean?", "observationVar?", "splits",
                              "fixedGain", "correction", "adaptation", "gate", "momentum", "epsilon", "relu"),
    bind<&adaptiveKalmanNormBackward>("adaptiveKalmanNormBackward", "x", "gamma?", "beta?", "priorMean?", "priorVar?",
                                      "beliefMean", "beliefVar", "observationMean", "observationVar", "posteriorMean",
                                      "posteriorVar", "gainMean", "gainVar", "dy", "dbeliefMean?", "dbeliefVar?",
                                      "dnormalizedVar?", "splits", "observationGradient", "epsilon", "relu", "add?",
                                      "virtualSamples"),
};

}  // namespace
}  // namespace kn::addon
