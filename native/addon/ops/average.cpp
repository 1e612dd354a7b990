#include "../../core/ops/average.h"
#include "../binding.h"

namespace kn::addon {

template <>
AverageTensors convert(const Argument& a) {
  return {a.get<Tensor>("average"), a.get<Tensor>("value"), a.get<double>("scale")};
}

namespace {

const Functions functions{
    bind<&average>("average", "tensors", "updates", "decay", "warmUp"),
};

}  // namespace
}  // namespace kn::addon
