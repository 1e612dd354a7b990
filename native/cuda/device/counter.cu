#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

__global__ void advanceCounter(int32_t* counter, int32_t by) {
  // Unsigned, so that a counter that overflows wraps around.
  *counter = static_cast<int32_t>(static_cast<uint32_t>(*counter) + static_cast<uint32_t>(by));
}

__global__ void appendValue(const float* value, const int32_t* cursor, float* history, int64_t capacity) {
  const int64_t at = *cursor;
  if (at >= 0 && at < capacity) history[at] = *value;
}

void run(const op::Advance& o, Context& context) {
  launch(advanceCounter, dim3(1), dim3(1), 0, context.stream, o.counter, o.by);
}

void run(const op::Append& o, Context& context) {
  launch(appendValue, dim3(1), dim3(1), 0, context.stream, o.value, o.cursor, o.history, o.capacity);
}

}  // namespace kn::cuda
