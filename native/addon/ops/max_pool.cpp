#include "../../core/ops/max_pool.h"

#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&maxPool2d>("maxPool2d", "x", "window", "shape"),
    bind<&maxPool2dBackward>("maxPool2dBackward", "x", "dy", "window", "shape", "virtualSamples"),
};

}  // namespace
}  // namespace kn::addon
