#include "../../core/ops/moments.h"
#include "../binding.h"

namespace kn::addon {

Napi::Value toJs(Call& call, const AddResult& r) {
  return object(call, {{"out", r.out}, {"mean", r.moments.mean}, {"var", r.moments.var}});
}

namespace {

const Functions functions{
    bind<&moments>("moments", "x", "splits"),
    bind<&momentsBackward>("momentsBackward", "x", "splits", "mean", "dmean", "dvar", "dx?"),
    bind<&addMoments>("addMoments", "a", "b", "splits", "inPlace"),
    bind<&updateRunning>("updateRunning", "mean", "variance", "running", "splits"),
};

}  // namespace
}  // namespace kn::addon
