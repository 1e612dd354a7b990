#include "sgd.h"

#include "loss_scale.h"
#include "parameter_checks.h"

namespace kn {

void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum, bool nesterov,
         const Tensor& lossScale) {
  constexpr const char* fn = "sgd";
  checkFloat(learningRate, {fn, "learningRate"});
  Device& device = learningRate.device();
  op::Sgd step{{},
               vector(device, learningRate, 1, {fn, "learningRate"}),
               fraction(momentum, {fn, "momentum"}),
               nesterov,
               optionalVector(device, lossScale, kLossScaleState, {fn, "lossScale"}),
               device.activationType()};
  for (const SgdTensors& p : parameters) {
    step.parameters.push_back({valuesBeside(device, p.weight, p.weight, {fn, "weight"}),
                               valuesBeside(device, p.momentum, p.weight, {fn, "momentum buffer"}),
                               valuesBeside(device, p.gradient, p.weight, {fn, "gradient"}), roundedValues(p.weight),
                               parameterCount(device, p.weight, {fn, "weight"}),
                               notNegative(p.weightDecay, {fn, "weightDecay"}),
                               notNegative(p.rateFactor, {fn, "rateFactor"})});
  }
  device.launch(step);
}

}  // namespace kn
