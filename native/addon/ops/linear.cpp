#include "../../core/ops/linear.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const LinearGradients& g) {
  return object(call, {{"dx", g.dx}, {"dw", g.dw}, {"db", g.db}});
}

namespace {

const Functions functions{
    bind<&linear>("linear", "x", "w", "b?"),
    bind<&linearBackward>("linearBackward", "x", "w", "dy", "needDx", "bias"),
};

}  // namespace
}  // namespace kn::addon
