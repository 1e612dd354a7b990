#include "../../core/ops/conv2d.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const EpilogueGradients& g) { return object(call, {{"dz", g.dz}, {"dbias", g.dbias}}); }

namespace {

const Functions functions{
    bind<&conv2d>("conv2d", "x", "w", "shape", "bias?", "relu"),
    bind<&conv2dEpilogueBackward>("conv2dEpilogueBackward", "y", "dy"),
    bind<&conv2dBackwardData>("conv2dBackwardData", "dy", "w", "x", "shape"),
    bind<&conv2dBackwardWeights>("conv2dBackwardWeights", "x", "dy", "w", "shape", "rounded?"),
};

}  // namespace
}  // namespace kn::addon
