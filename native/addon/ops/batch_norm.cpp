#include "../../core/ops/batch_norm.h"
#include "../binding.h"
#include "../norm_results.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const DnnNormResult& r) {
  return object(call, {{"y", r.y}, {"mean", r.mean}, {"rstd", r.rstd}, {"var", r.var}});
}

namespace {

const Functions functions{
    bind<&batchNorm>("batchNorm", "x", "gamma?", "beta?", "splits", "epsilon", "relu", "mean?", "variance?",
                     "running?"),
    bind<&batchNormBackward>("batchNormBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "splits", "epsilon",
                             "relu", "add?", "virtualSamples"),
    bind<&dnnBatchNorm>("dnnBatchNorm", "x", "gamma", "beta", "epsilon", "relu"),
    bind<&dnnBatchNormBackward>("dnnBatchNormBackward", "x", "dy", "gamma", "beta", "mean", "rstd", "relu"),
    bind<&normalize>("normalize", "x", "gamma?", "beta?", "mean", "variance", "epsilon", "relu"),
    bind<&normalizeBackward>("normalizeBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "epsilon", "relu"),
};

}  // namespace
}  // namespace kn::addon
