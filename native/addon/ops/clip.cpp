#include "../../core/ops/clip.h"
#include "../binding.h"

namespace kn::addon {
namespace {

const Functions functions{
    bind<&clipNorm>("clipNorm", "gradients", "maxNorm", "lossScale?"),
    bind<&clipValue>("clipValue", "gradients", "limit", "lossScale?"),
};

}  // namespace
}  // namespace kn::addon
