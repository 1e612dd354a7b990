#include "observed_variance.h"

#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const CenteredSamples& s) {
  return object(call, {{"centered", s.centered}, {"next", s.next}});
}

Napi::Value toJs(Call& call, const ObservedVarianceGradients& g) {
  return object(call, {{"dw", g.dw}, {"dmean", g.dbelief.mean}, {"dvar", g.dbelief.var}});
}

namespace {

const Functions functions{
    bind<&centerObserved>("centerObserved", "y", "center", "averageVariance", "updates", "decay", "warmUp"),
    bind<&averageObserved>("averageObserved", "products", "scale", "next", "slope", "center", "averageVariance",
                           "updates"),
    bind<&observedVarianceBackward>("observedVarianceBackward", "w", "mean", "inputVariance", "rectified", "slope",
                                    "believed", "average", "dvariance"),
};

}  // namespace
}  // namespace kn::addon
