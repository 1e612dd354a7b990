#pragma once
#include "views.h"

namespace kn::op {

/// y = [zeros of `before` channels, x, zeros]
struct PadChannels {
  Act x, y;
  int64_t before;
};
struct PadChannelsBackward {
  Act dy, dx;
  int64_t before;
};
/// Widens a belief by zero channels. Aligned: split s, channel c moves to split s, channel before + c. Otherwise the
/// flat vector moves by S·before, as in the reference code.
struct PadBelief {
  const float* x;
  float* y;
  int64_t splits, channels, before, after;
  bool aligned;
};
struct PadBeliefBackward {
  const float* dy;
  float* dx;
  int64_t splits, channels, before, after;
  bool aligned;
};

}  // namespace kn::op

namespace kn {

Tensor padChannels(const Tensor& x, int64_t before, int64_t after);
Tensor padChannelsBackward(const Tensor& dy, const Tensor& x, int64_t before);
Tensor padBelief(const Tensor& x, int64_t splits, int64_t before, int64_t after, bool aligned);
Tensor padBeliefBackward(const Tensor& dy, const Tensor& x, int64_t splits, int64_t before, int64_t after,
                         bool aligned);

}  // namespace kn
