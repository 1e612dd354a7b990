#include "../../core/ops/broadcast.h"
#include "../binding.h"

namespace kn::addon {

template <>
BinaryKind convert(const Argument& a) {
  return a.oneOf<BinaryKind>(
      {"add", "subtract", "multiply", "divide", "maximum", "minimum", "equal", "greater", "where", "whereNot"});
}

namespace {

const Functions functions{
    bind<&binary>("binary", "a", "b", "kind"),
};

}  // namespace
}  // namespace kn::addon
