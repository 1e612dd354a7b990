#include "kernels.h"
#include "strided.cuh"

namespace kn::cuda {

__global__ void rearrangeValues(op::Rearrange o, int64_t count) {
  for (int64_t i = firstItem(); i < count; i += itemStep()) {
    int64_t at[2];
    offsetsOf(o.walk, {o.from.axes, o.to.axes}, static_cast<uint32_t>(i), at);
    storeAt(o.to.data, o.to.stored, at[1], loadAt(o.from.data, o.from.stored, at[0]));
  }
}

void run(const op::Rearrange& o, Context& context) {
  const int64_t count = o.walk.count();
  launchItems(context, count, rearrangeValues, o, count);
}

}  // namespace kn::cuda
