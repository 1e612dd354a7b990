#pragma once
#include <vector>

#include "strided.h"

namespace kn::op {

/// to = from, each in its own order.
struct Rearrange {
  Walk walk;
  View from, to;
};

}  // namespace kn::op

namespace kn {

/// Axis i of the result is axis axes[i] of x.
Tensor permute(const Tensor& x, const std::vector<int64_t>& axes, Format format);
/// Values [starts, starts + shape) of x.
Tensor slice(const Tensor& x, const std::vector<int64_t>& starts, const Shape& shape, Format format);
/// Writes `part` over the values of `into` that begin at `starts`.
void place(const Tensor& part, const Tensor& into, const std::vector<int64_t>& starts);
/// x repeated along the axes where it has size 1, or that it hasn't.
Tensor broadcastTo(const Tensor& x, const Shape& shape, Format format);

}  // namespace kn
