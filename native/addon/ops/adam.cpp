#include "../../core/ops/adam.h"
#include "../binding.h"

namespace kn::addon {

template <>
AdamTensors convert(const Argument& a) {
  return {a.get<Tensor>("weight"), a.get<Tensor>("gradient"),    a.get<Tensor>("first"),
          a.get<Tensor>("second"), a.get<double>("weightDecay"), a.get<double>("rateFactor")};
}

template <>
AdamOptions convert(const Argument& a) {
  return {a.get<double>("beta1"), a.get<double>("beta2"), a.get<double>("epsilon"), a.get<bool>("decoupled")};
}

namespace {

const Functions functions{
    bind<&adam>("adam", "parameters", "learningRate", "steps", "options", "lossScale?"),
};

}  // namespace
}  // namespace kn::addon
