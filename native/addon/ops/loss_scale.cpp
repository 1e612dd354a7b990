#include "../../core/ops/loss_scale.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&checkFinite>("checkFinite", "gradients", "lossScale"),
    bind<&updateLossScale>("updateLossScale", "lossScale", "growth", "backoff", "interval"),
};

}  // namespace
}  // namespace kn::addon
