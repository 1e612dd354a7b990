#include "../../core/ops/observed_variance.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const ObservedVarianceGradients& g) {
  return object(call, {{"dw", g.dw}, {"dinput", g.dinput}});
}

namespace {

const Functions functions{
    bind<&averageMoments>("averageMoments", "mean", "variance", "center", "averageVariance", "updates", "decay",
                          "warmUp"),
    bind<&observedVarianceBackward>("observedVarianceBackward", "w", "slope", "input", "variance", "average",
                                    "dvariance"),
};

}  // namespace
}  // namespace kn::addon
