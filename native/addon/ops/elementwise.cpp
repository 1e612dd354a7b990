#include "../../core/ops/elementwise.h"
#include "../binding.h"

namespace kn::addon {

template <>
MapKind convert(const Argument& a) {
  return a.oneOf<MapKind>({"exp", "log", "sqrt", "reciprocal", "abs", "tanh", "sigmoid", "gelu", "silu", "softplus",
                           "leakyRelu", "pow", "clamp"});
}

template <>
AddPair convert(const Argument& a) {
  return {a.get<Tensor>("a"), a.get<Tensor>("b", Presence::Optional)};
}

namespace {

const Functions functions{
    bind<&add>("add", "a", "b"),
    bind<&addEach>("addEach", "pairs"),
    bind<&addInto>("addInto", "target", "other"),
    bind<&scale>("scale", "x", "factor"),
    bind<&scaleBy>("scaleBy", "x", "factor"),
    bind<&relu>("relu", "x"),
    bind<&reluBackward>("reluBackward", "y", "dy"),
    bind<&map>("map", "x", "kind", "a", "b"),
    bind<&mapBackward>("mapBackward", "at", "dy", "kind", "a", "b"),
};

}  // namespace
}  // namespace kn::addon
