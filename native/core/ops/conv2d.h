#pragma once
#include "views.h"

namespace kn::op {

/// The filter's taps are `dilation` pixels apart. Each of `groups` equal parts of the outputs sees its own part of x's
/// channels: the filter is [out, in / groups, height, width].
struct ConvShape {
  int64_t strideH = 1, strideW = 1, top = 0, left = 0, bottom = 0, right = 0;
  int64_t dilationH = 1, dilationW = 1, groups = 1;
  /// Whether it is nothing but stride and padding, which is all that windows without a filter have.
  bool plain() const { return dilationH == 1 && dilationW == 1 && groups == 1; }
  /// What a filter of this height or width spans.
  int64_t spanH(int64_t height) const { return (height - 1) * dilationH + 1; }
  int64_t spanW(int64_t width) const { return (width - 1) * dilationW + 1; }
  bool operator==(const ConvShape&) const = default;
};
/// y = x * w + bias, then ReLU where asked. `bias` [out] may be null.
struct Conv2d {
  Act x;
  Filter w;
  Act y;
  ConvShape shape;
  const float* bias = nullptr;
  bool relu = false;
};
/// A filter's values in the type that activations are stored in.
struct RoundFilter {
  static constexpr const char* cudaOnly = "roundFilter";
  const float* from;
  Values to;
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
  void* rounded;  ///< takes the gradient in the type of activations, in place of dw's values; may be null
};

}  // namespace kn::op

namespace kn {

/// `bias` may be empty.
Tensor conv2d(const Tensor& x, const Tensor& w, const op::ConvShape& shape, const Tensor& bias = {}, bool relu = false);
struct EpilogueGradients {
  Tensor dz, dbias;
};
/// Gradients of a convolution's result before bias and ReLU, and of the bias, from its output.
EpilogueGradients conv2dEpilogueBackward(const Tensor& y, const Tensor& dy);
Tensor conv2dBackwardData(const Tensor& dy, const Tensor& w, const Tensor& x, const op::ConvShape& shape);
/// `rounded`: stored in the type of activations, which `addEach` and `averageObserved` alone read of a filter.
Tensor conv2dBackwardWeights(const Tensor& x, const Tensor& dy, const Tensor& w, const op::ConvShape& shape,
                             bool rounded = false);

}  // namespace kn
