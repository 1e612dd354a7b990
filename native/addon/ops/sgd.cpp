#include "../../core/ops/sgd.h"
#include "../binding.h"

namespace kn::addon {

template <>
SgdTensors convert(const Argument& a) {
  return {a.get<Tensor>("weight"), a.get<Tensor>("gradient"), a.get<Tensor>("momentum"), a.get<double>("weightDecay"),
          a.get<double>("rateFactor")};
}

namespace {

const Functions functions{
    bind<&sgd>("sgd", "parameters", "learningRate", "momentum", "nesterov", "lossScale?"),
};

}  // namespace
}  // namespace kn::addon
