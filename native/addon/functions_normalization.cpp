#include "functions.h"

/// Bindings of moments.cpp, batch_norm.cpp and group_norm.cpp.
namespace kn::addon {
Napi::Value toJs(Call& call, const AddResult& r) {
  return object(call, {{"out", r.out}, {"mean", r.moments.mean}, {"var", r.moments.var}});
}

Napi::Value toJs(Call& call, const NormResult& r) {
  return object(call, {{"y", r.y}, {"mean", r.moments.mean}, {"var", r.moments.var}});
}

Napi::Value toJs(Call& call, const DnnNormResult& r) {
  return object(call, {{"y", r.y}, {"mean", r.mean}, {"rstd", r.rstd}, {"var", r.var}});
}

Napi::Value toJs(Call& call, const NormGradients& g) {
  return object(call, {{"dx", g.dx}, {"dgamma", g.dgamma}, {"dbeta", g.dbeta}});
}

const Bindings& normalizationFunctions() {
  static const Bindings table{
      bind<&moments>("moments", "x", "splits"),
      bind<&momentsBackward>("momentsBackward", "x", "splits", "mean", "dmean", "dvar", "dx?"),
      bind<&addMoments>("addMoments", "a", "b", "splits", "inPlace"),
      bind<&runningUpdate>("runningUpdate", "mean", "variance", "runningMean", "runningVar", "splits", "momentum",
                           "correction", "allSplits"),

      bind<&batchNorm>("batchNorm", "x", "gamma?", "beta?", "splits", "epsilon", "relu", "mean?", "variance?"),
      bind<&batchNormBackward>("batchNormBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "splits",
                               "epsilon", "relu", "add?", "extraSamples"),
      bind<&dnnBatchNorm>("dnnBatchNorm", "x", "gamma", "beta", "epsilon", "relu"),
      bind<&dnnBatchNormBackward>("dnnBatchNormBackward", "x", "dy", "gamma", "beta", "mean", "rstd", "relu"),
      bind<&normalize>("normalize", "x", "gamma?", "beta?", "mean", "variance", "epsilon", "relu"),
      bind<&normalizeBackward>("normalizeBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "epsilon",
                               "relu"),
      bind<&groupNorm>("groupNorm", "x", "gamma?", "beta?", "groups", "epsilon", "relu"),
      bind<&groupNormBackward>("groupNormBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "groups",
                               "epsilon", "relu", "add?", "extraSamples"),
  };
  return table;
}

}  // namespace kn::addon
