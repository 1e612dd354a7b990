#include "average.h"

#include "memory.h"
#include "parameter_checks.h"

namespace kn {

void average(const std::vector<AverageTensors>& tensors, const Tensor& updates, double decay, bool warmUp) {
  constexpr const char* fn = "average";
  checkAlive(updates, {fn, "updates"});
  Device& device = updates.device();
  op::Average step{{}, integers(device, updates, 1, {fn, "updates"}), averageShareOf(decay, {fn, "decay"}), warmUp};
  for (const AverageTensors& t : tensors) {
    const float* const value = valuesBeside(device, t.value, t.value, {fn, "value"});
    checkFinite(t.scale, {fn, "scale"});
    step.tensors.push_back({valuesBeside(device, t.average, t.value, {fn, "average"}), value,
                            static_cast<float>(t.scale), parameterCount(device, t.value, {fn, "value"})});
  }
  device.launch(step);
  for (const AverageTensors& t : tensors) written(t.average);
}

}  // namespace kn
