#include "../../core/ops/reduce.h"
#include "../binding.h"

namespace kn::addon {

template <>
ReduceKind convert(const Argument& a) {
  return a.oneOf<ReduceKind>({"sum", "mean", "max", "argMax"});
}

namespace {

const Functions functions{
    bind<&reduce>("reduce", "x", "shape", "format", "kind"),
};

}  // namespace
}  // namespace kn::addon
