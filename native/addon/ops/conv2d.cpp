#include "../../core/ops/conv2d.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&conv2d>("conv2d", "x", "w", "shape"),
    bind<&conv2dBackwardData>("conv2dBackwardData", "dy", "w", "x", "shape"),
    bind<&conv2dBackwardWeights>("conv2dBackwardWeights", "x", "dy", "w", "shape"),
};

}  // namespace
}  // namespace kn::addon
