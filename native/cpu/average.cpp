#include "kernels.h"
#include "tensor_list.h"

namespace kn::cpu {

void run(const op::Average& o, Context&) {
  const float share = averageShare(o.share, o.warmUp, *o.updates);
  forTensors(o.tensors, [&](const op::AveragedTensor& t, int64_t begin, int64_t end, int64_t) {
    const float* __restrict value = t.value;
    float* __restrict average = t.average;
    for (int64_t i = begin; i < end; ++i) average[i] += share * (t.scale * value[i] - average[i]);
  });
}

}  // namespace kn::cpu
