#include "kernels.h"

/// Each output of a filter is normalized by itself: KRSC is NHWC, so a filter is a batch with an output for a sample,
/// and all of a sample is one group.
namespace kn::cuda {
namespace {

op::Act asBatch(const op::Filter& f) { return {f.data, f.out, f.in, f.h, f.w}; }

}  // namespace

/// Needs 1 read of w, 1 write of y. Moves what the group normalization of one group moves.
void run(const op::WeightStandardize& o, Context& context) {
  run(op::GroupNorm{asBatch(o.w), asBatch(o.y), 1, nullptr, nullptr, o.mean, o.var, o.epsilon, false}, context);
}

/// Needs 1 read of w and dy, 1 write of dw. Moves what the group normalization of one group moves.
void run(const op::WeightStandardizeBackward& o, Context& context) {
  run(op::GroupNormBackward{asBatch(o.w),
                            asBatch(o.dy),
                            asBatch(o.dw),
                            {},
                            1,
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

}  // namespace kn::cuda
