#include "kernels.h"

namespace kn::cpu {

void run(const op::Advance& o, Context&) {
  // Unsigned, so that a counter that overflows wraps around.
  *o.counter = static_cast<int32_t>(static_cast<uint32_t>(*o.counter) + static_cast<uint32_t>(o.by));
}

void run(const op::Append& o, Context&) {
  if (*o.cursor >= 0 && *o.cursor < o.capacity) o.history[*o.cursor] = *o.value;
}

}  // namespace kn::cpu
