#include "loss_scale.h"

#include "checks.h"

namespace kn {

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
