#include "../../core/ops/pool.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&avgPool2d>("avgPool2d", "x", "size"),
    bind<&avgPool2dBackward>("avgPool2dBackward", "dy", "x", "size", "virtualSamples"),
    bind<&globalAvgPool>("globalAvgPool", "x"),
    bind<&globalAvgPoolBackward>("globalAvgPoolBackward", "dy", "x", "virtualSamples"),
};

}  // namespace
}  // namespace kn::addon
