#include "../../core/ops/layout.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&permute>("permute", "x", "axes", "format"),
    bind<&slice>("slice", "x", "starts", "shape", "format"),
    bind<&place>("place", "part", "into", "starts"),
    bind<&broadcastTo>("broadcastTo", "x", "shape", "format"),
};

}  // namespace
}  // namespace kn::addon
