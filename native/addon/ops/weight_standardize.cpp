#include "../../core/ops/weight_standardize.h"
#include "../binding.h"
#include "../norm_results.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&weightStandardize>("weightStandardize", "w", "epsilon"),
    bind<&weightStandardizeBackward>("weightStandardizeBackward", "w", "dy", "mean", "variance", "epsilon"),
};

}  // namespace
}  // namespace kn::addon
