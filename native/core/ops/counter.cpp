#include "counter.h"

#include "checks.h"

namespace kn {

void advance(const Tensor& counter, int64_t by) {
  checkAlive(counter, {"advance", "counter"});
  auto* data = const_cast<int32_t*>(integers(counter.device(), counter, 1, {"advance", "counter"}));
  counter.device().launch(op::Advance{data, static_cast<int32_t>(by)});
}

void append(const Tensor& value, const Tensor& cursor, const Tensor& history) {
  checkFloat(value, {"append", "value"});
  Device& device = value.device();
  const float* from = vector(device, value, 1, {"append", "value"});
  const int32_t* at = integers(device, cursor, 1, {"append", "cursor"});
  checkFloat(history, {"append", "history"});
  device.launch(op::Append{from, at, vector(device, history, history.count(), {"append", "history"}), history.count()});
}

}  // namespace kn
