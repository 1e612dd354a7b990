#pragma once
#include "views.h"

namespace kn::op {

/// Mean over windows of size × size, stride size; incomplete windows are dropped.
struct AvgPool2d {
  Act x, y;
  int64_t size;
};
struct AvgPool2dBackward {
  Act dy, dx;
  int64_t size;
};
struct GlobalAvgPool {
  Act x, y;
};
struct GlobalAvgPoolBackward {
  Act dy, dx;
};

}  // namespace kn::op

namespace kn {

Tensor avgPool2d(const Tensor& x, int64_t size);
Tensor avgPool2dBackward(const Tensor& dy, const Tensor& x, int64_t size, int64_t virtualSamples);
Tensor globalAvgPool(const Tensor& x);
Tensor globalAvgPoolBackward(const Tensor& dy, const Tensor& x, int64_t virtualSamples);

}  // namespace kn
