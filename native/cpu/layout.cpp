#include "kernels.h"
#include "strided.h"

namespace kn::cpu {

void run(const op::Rearrange& o, Context&) {
  const int last = o.walk.rank - 1;
  const op::Axis alongFrom = o.from.axes[last], alongTo = o.to.axes[last];
  forRows(
      o.walk,
      [&](int32_t length, const float* from, float* to) {
        for (int32_t i = 0; i < length; ++i) to[alongTo.at(i)] = from[alongFrom.at(i)];
      },
      o.from, o.to);
}

}  // namespace kn::cpu
