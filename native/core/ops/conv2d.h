#pragma once
#include "views.h"

namespace kn::op {

struct ConvShape {
  int64_t strideH = 1, strideW = 1, top = 0, left = 0, bottom = 0, right = 0;
  bool operator==(const ConvShape&) const = default;
};
struct Conv2d {
  Act x;
  Filter w;
  Act y;
  ConvShape shape;
};
struct Conv2dBackwardData {
  Act dy;
  Filter w;
  Act dx;
  ConvShape shape;
};
struct Conv2dBackwardWeights {
  Act x, dy;
  Filter dw;
  ConvShape shape;
};

}  // namespace kn::op

namespace kn {

Tensor conv2d(const Tensor& x, const Tensor& w, const op::ConvShape& shape);
Tensor conv2dBackwardData(const Tensor& dy, const Tensor& w, const Tensor& x, const op::ConvShape& shape);
Tensor conv2dBackwardWeights(const Tensor& x, const Tensor& dy, const Tensor& w, const op::ConvShape& shape);

}  // namespace kn
