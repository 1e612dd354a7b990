#include "checks.h"

namespace kn {

constexpr int64_t kLossScaleState = 3;

void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum,
         const Tensor& lossScale) {
  checkFloat(learningRate, {"sgd", "learningRate"});
  Device& device = learningRate.device();
  op::Sgd step{{},
               vector(device, learningRate, 1, {"sgd", "learningRate"}),
               fraction(momentum, {"sgd", "momentum"}),
               optionalVector(device, lossScale, kLossScaleState, {"sgd", "lossScale"})};
  for (const SgdTensors& p : parameters) {
    for (const auto& [tensor, name] : {std::pair{&p.weight, "weight"}, std::pair{&p.gradient, "gradient"},
                                       std::pair{&p.momentum, "momentum buffer"}}) {
      checkFloat(*tensor, {"sgd", name});
      checkDevice(device, *tensor, {"sgd", name});
      checkShape(*tensor, p.weight.shape, {"sgd", name});
      require(tensor->format == p.weight.format, ErrorCode::InvalidArgument, "sgd: ", name, " must have the ",
              formatName(p.weight.format), " format, got ", formatName(tensor->format));
    }
    require(std::isfinite(p.weightDecay) && p.weightDecay >= 0, ErrorCode::InvalidArgument,
            "sgd: weightDecay must not be negative, got ", p.weightDecay);
    step.parameters.push_back({p.weight.data(), p.momentum.data(), p.gradient.data(),
                               device.physicalCount(p.weight.shape, p.weight.format),
                               static_cast<float>(p.weightDecay)});
  }
  device.launch(step);
}

void checkFinite(const std::vector<Tensor>& gradients, const Tensor& lossScale) {
  checkFloat(lossScale, {"checkFinite", "lossScale"});
  Device& device = lossScale.device();
  op::CheckFinite check{{}, vector(device, lossScale, kLossScaleState, {"checkFinite", "lossScale"})};
  for (const Tensor& gradient : gradients) {
    checkFloat(gradient, {"checkFinite", "gradient"});
    checkDevice(device, gradient, {"checkFinite", "gradient"});
    require(gradient.stored == DType::F32, ErrorCode::DTypeMismatch,
            "checkFinite: gradient must be stored as float32, got ", dtypeName(gradient.stored));
    check.gradients.push_back({gradient.data(), device.physicalCount(gradient.shape, gradient.format)});
  }
  device.launch(check);
}

void updateLossScale(const Tensor& lossScale, double growth, double backoff, int64_t interval) {
  constexpr const char* fn = "updateLossScale";
  checkFloat(lossScale, {fn, "lossScale"});
  require(interval >= 1, ErrorCode::InvalidArgument, fn, ": interval must be at least 1, got ", interval);
  Device& device = lossScale.device();
  device.launch(op::UpdateLossScale{vector(device, lossScale, kLossScaleState, {fn, "lossScale"}),
                                    positive(growth, {fn, "growth"}), positive(backoff, {fn, "backoff"}),
                                    static_cast<float>(interval)});
}

}  // namespace kn
