#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels.h"
#include "parallel.h"

namespace kn::cpu {

void run(const op::CheckFinite& o, Context&) {
  constexpr int64_t grain = 1 << 14;
  std::atomic<bool> finite = true;
  for (const op::CheckFinite::Gradient& gradient : o.gradients) {
    parallelRanges(gradient.count, grain, [&](int64_t begin, int64_t end) {
      // A sum of products with zero is NaN where any value isn't finite, and is vectorised.
      float sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += gradient.data[i] * 0.0F;
      if (std::isnan(sum)) finite = false;
    });
  }
  o.state[2] = finite ? 0 : 1;
}

void run(const op::UpdateLossScale& o, Context&) {
  float& scale = o.state[0];
  float& steps = o.state[1];
  if (o.state[2] != 0) {
    scale = std::max(scale * o.backoff, 1.0F);
    steps = 0;
  } else if (++steps >= o.interval) {
    scale = std::min(scale * o.growth, 0x1p24F);
    steps = 0;
  }
}

}  // namespace kn::cpu
