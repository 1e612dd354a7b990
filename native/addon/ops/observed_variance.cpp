#include "../../core/ops/observed_variance.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const ObservedVarianceGradients& g) {
  return object(call, {{"dw", g.dw}, {"dmean", g.dbelief.mean}, {"dvar", g.dbelief.var}});
}

namespace {

const Functions functions{
    bind<&averageMoments>("averageMoments", "mean", "variance", "center", "averageVariance", "updates", "decay",
                          "warmUp"),
    bind<&center>("center", "x", "center"),
    bind<&observedVarianceBackward>("observedVarianceBackward", "w", "slope", "mean", "inputVariance", "rectified",
                                    "variance", "average", "dvariance"),
};

}  // namespace
}  // namespace kn::addon
