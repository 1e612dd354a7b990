#include "../../core/ops/observed_variance.h"
#include "../binding.h"

namespace kn::addon {

template <>
struct Read<ObservedVarianceGradients> {
  static constexpr size_t parameters = 3;
  static ObservedVarianceGradients from(Call& call) { return {call.next<Tensor>(), Read<MeanVar>::from(call)}; }
};

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
    bind<&observedVarianceBackward>("observedVarianceBackward", "w", "slope", "mean", "inputVariance", "rectified",
                                    "variance", "average", "dvariance", "dw?", "dmean?", "dvar?"),
};

}  // namespace
}  // namespace kn::addon
