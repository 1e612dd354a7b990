#include "clip.h"

#include "loss_scale.h"
#include "memory.h"
#include "parameter_checks.h"

namespace kn {
namespace {

std::vector<op::ClippedGradient> clipped(Device& device, const std::vector<Tensor>& gradients, Name name) {
  std::vector<op::ClippedGradient> result;
  result.reserve(gradients.size());
  for (const Tensor& gradient : gradients) {
    float* const values = valuesBeside(device, gradient, gradient, name);
    result.push_back({values, parameterCount(device, gradient, name)});
  }
  return result;
}

Device& deviceOf(const std::vector<Tensor>& gradients, Name name) {
  require(!gradients.empty(), ErrorCode::InvalidArgument, name, " must have at least one tensor, got none");
  checkFloat(gradients[0], name);
  return gradients[0].device();
}

}  // namespace

Tensor clipNorm(const std::vector<Tensor>& gradients, double maxNorm, const Tensor& lossScale) {
  constexpr const char* fn = "clipNorm";
  Device& device = deviceOf(gradients, {fn, "gradients"});
  op::ClipNorm clip{clipped(device, gradients, {fn, "gradient"}), nullptr, positive(maxNorm, {fn, "maxNorm"}),
                    optionalVector(device, lossScale, kLossScaleState, {fn, "lossScale"})};
  Tensor norm = emptyVector(device, 1);
  clip.norm = norm.data();
  device.launch(clip);
  for (const Tensor& gradient : gradients) written(gradient);
  return norm;
}

void clipValue(const std::vector<Tensor>& gradients, double limit, const Tensor& lossScale) {
  constexpr const char* fn = "clipValue";
  Device& device = deviceOf(gradients, {fn, "gradients"});
  device.launch(op::ClipValue{clipped(device, gradients, {fn, "gradient"}), positive(limit, {fn, "limit"}),
                              optionalVector(device, lossScale, kLossScaleState, {fn, "lossScale"})});
  for (const Tensor& gradient : gradients) written(gradient);
}

}  // namespace kn
