#include "kernels.h"
#include "layout.h"

/// Each output of a filter is normalized by itself. Where the outputs are a multiple of eight, eight of them lie side
/// by side, else one after the other: in either layout a filter is a batch whose samples are groups of outputs.
namespace kn::cpu {
namespace {

op::Act asBatch(const op::Filter& f) {
  const int64_t channels = blocked(f.out) ? kLanes : 1;
  return {f.data, f.out / channels, channels, f.in, f.h * f.w};
}

}  // namespace

void run(const op::WeightStandardize& o, Context& context) {
  const op::Act w = asBatch(o.w);
  run(op::GroupNorm{w, asBatch(o.y), w.c, nullptr, nullptr, o.mean, o.var, o.epsilon, false}, context);
}

void run(const op::WeightStandardizeBackward& o, Context& context) {
  const op::Act w = asBatch(o.w);
  run(op::GroupNormBackward{w,
                            asBatch(o.dy),
                            asBatch(o.dw),
                            {},
                            w.c,
                            nullptr,
                            nullptr,
                            o.mean,
                            o.var,
                            nullptr,
                            nullptr,
                            o.epsilon,
                            false},
      context);
}

}  // namespace kn::cpu
