#include "adam.h"

#include "loss_scale.h"
#include "parameter_checks.h"

namespace kn {
namespace {

constexpr const char* fn = "adam";

/// A rate of decay: 1 would never forget, and divide by zero.
double decayRate(double value, const char* name) {
  require(value >= 0 && value < 1, ErrorCode::InvalidArgument, Name{fn, name}, " must be at least 0 and below 1, got ",
          value);
  return value;
}

}  // namespace

void adam(const std::vector<AdamTensors>& parameters, const Tensor& learningRate, const Tensor& steps,
          const AdamOptions& options, const Tensor& lossScale) {
  checkFloat(learningRate, {fn, "learningRate"});
  Device& device = learningRate.device();
  op::Adam step{{},
                vector(device, learningRate, 1, {fn, "learningRate"}),
                const_cast<int32_t*>(integers(device, steps, 1, {fn, "steps"})),
                decayRate(options.beta1, "beta1"),
                decayRate(options.beta2, "beta2"),
                positive(options.epsilon, {fn, "epsilon"}),
                options.decoupled,
                optionalVector(device, lossScale, kLossScaleState, {fn, "lossScale"}),
                device.activationType()};
  for (const AdamTensors& p : parameters) {
    step.parameters.push_back({valuesBeside(device, p.weight, p.weight, {fn, "weight"}),
                               valuesBeside(device, p.first, p.weight, {fn, "first moment"}),
                               valuesBeside(device, p.second, p.weight, {fn, "second moment"}),
                               valuesBeside(device, p.gradient, p.weight, {fn, "gradient"}), roundedValues(p.weight),
                               parameterCount(device, p.weight, {fn, "weight"}),
                               notNegative(p.weightDecay, {fn, "weightDecay"}),
                               notNegative(p.rateFactor, {fn, "rateFactor"})});
  }
  device.launch(step);
}

}  // namespace kn
