#include "../../core/ops/elementwise.h"
#include "../binding.h"

namespace kn::addon {

namespace {

const Functions functions{
    bind<&add>("add", "a", "b"),
    bind<&addInto>("addInto", "target", "other"),
    bind<&multiply>("multiply", "a", "b"),
    bind<&scale>("scale", "x", "factor"),
    bind<&scaleBy>("scaleBy", "x", "factor"),
    bind<&relu>("relu", "x"),
    bind<&reluBackward>("reluBackward", "y", "dy"),
    bind<&sigmoid>("sigmoid", "x"),
    bind<&sigmoidBackward>("sigmoidBackward", "y", "dy"),
};

}  // namespace
}  // namespace kn::addon
