#include "../../core/ops/kalman.h"
#include "../binding.h"

namespace kn::addon {

template <>
struct Read<KalmanOptions> {
  static constexpr size_t parameters = 6;
  static KalmanOptions from(Call& call) {
    KalmanOptions options;
    options.splits = call.next<int64_t>();
    options.hasVirtual = call.next<bool>();
    options.sample = call.next<bool>();
    options.fixedGain = call.next<double>();
    options.epsilon = call.next<double>();
    options.relu = call.next<bool>();
    return options;
  }
};

template <>
struct Read<KalmanLayer> {
  static constexpr size_t parameters = 4;
  static KalmanLayer from(Call& call) {
    return {call.next<Tensor>(), call.next<Tensor>(), call.next<Tensor>(), call.next<Tensor>()};
  }
};

template <>
struct Read<KalmanInput> {
  static constexpr size_t parameters = 8;
  static KalmanInput from(Call& call) {
    return {Read<MeanVar>::from(call), Read<MeanVar>::from(call), call.next<RandomSource>(),
            call.next<Tensor>(),       call.next<double>(),       call.next<RunningAverages>()};
  }
};

template <>
struct Read<KalmanResult> {
  static constexpr size_t parameters = 8;
  static KalmanResult from(Call& call) {
    return {call.next<Tensor>(), Read<MeanVar>::from(call), Read<MeanVar>::from(call), Read<MeanVar>::from(call),
            call.next<Tensor>()};
  }
};

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

namespace {

const Functions functions{
    bind<&kalmanNorm>("kalmanNorm", "x", "gamma?", "beta?", "gain?", "priorMean?", "priorVar?", "observationMean?",
                      "observationVar?", "random?", "noise?", "guard", "running?", "splits", "hasVirtual", "sample",
                      "fixedGain", "epsilon", "relu"),
    bind<&kalmanNormBackward>("kalmanNormBackward", "x", "gamma?", "beta?", "gain?", "y", "priorMean?", "priorVar?",
                              "observationMean", "observationVar", "posteriorMean", "posteriorVar", "ratio", "dy",
                              "dposteriorMean?", "dposteriorVar?", "splits", "hasVirtual", "sample", "fixedGain",
                              "epsilon", "relu", "add?", "virtualSamples"),
};

}  // namespace
}  // namespace kn::addon
