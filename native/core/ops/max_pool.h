#pragma once
#include "conv2d.h"
#include "views.h"

namespace kn::op {

/// Windows of height × width pixels, each with at least one of the image: padding is no value.
struct MaxWindows {
  int64_t height = 1, width = 1;
  ConvShape shape;
};
/// The largest value of each window, NaN where it holds one.
struct MaxPool2d {
  Act x, y;
  MaxWindows windows;
};
/// dy goes to the first of its window's largest values, in row-major order.
struct MaxPool2dBackward {
  Act x, dy, dx;
  MaxWindows windows;
};

}  // namespace kn::op

namespace kn {

/// `window`: [height, width].
Tensor maxPool2d(const Tensor& x, const Shape& window, const op::ConvShape& shape);
Tensor maxPool2dBackward(const Tensor& x, const Tensor& dy, const Shape& window, const op::ConvShape& shape,
                         int64_t virtualSamples);

}  // namespace kn
