#include "../../core/ops/group_norm.h"
#include "../binding.h"
#include "../norm_results.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&groupNorm>("groupNorm", "x", "gamma?", "beta?", "groups", "epsilon", "relu"),
    bind<&groupNormBackward>("groupNormBackward", "x", "dy", "gamma?", "beta?", "mean", "variance", "groups", "epsilon",
                             "relu", "add?", "virtualSamples"),
};

}  // namespace
}  // namespace kn::addon
