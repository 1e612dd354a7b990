#include "average.h"

#include "memory.h"
#include "parameter_checks.h"

namespace kn {

void average(const std::vector<AverageTensors>& tensors, const Tensor& updates, double decay, bool warmUp) {
  constexpr const char* fn = "average";
  checkAlive(updates, {fn, "updates"});
  Device& device = updates.device();
  require(decay >= 0 && decay < 1, ErrorCode::InvalidArgument, fn, ": decay must be at least 0 and below 1, got ",
          decay);
  op::Average step{{}, integers(device, updates, 1, {fn, "updates"}), static_cast<float>(1 - decay), warmUp};
  for (const AverageTensors& t : tensors) {
    const float* const value = valuesBeside(device, t.value, t.value, {fn, "value"});
    step.tensors.push_back({valuesBeside(device, t.average, t.value, {fn, "average"}), value,
                            parameterCount(device, t.value, {fn, "value"})});
  }
  device.launch(step);
  for (const AverageTensors& t : tensors) written(t.average);
}

}  // namespace kn
