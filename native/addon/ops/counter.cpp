#include "../../core/ops/counter.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&advance>("advance", "counter", "by"),
    bind<&append>("append", "value", "cursor", "history"),
};

}  // namespace
}  // namespace kn::addon
