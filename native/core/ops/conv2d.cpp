#include "conv2d.h"

#include "batch_norm.h"
#include "checks.h"

namespace kn {
namespace {

/// Images may also come row-major, as `gather` writes them.
op::Act image(Device& device, const Tensor& t, Name name) {
  checkFloat(t, name);
  require(t.shape.rank() == 4, ErrorCode::ShapeMismatch, name, " must have shape [N, C, H, W], got ", t.shape.str());
  if (t.format != Format::Plain) return activation(device, t, name);
  checkDevice(device, t, name);
  return {t.data<void>(), t.shape[0], t.shape[1], t.shape[2], t.shape[3], Format::Plain, t.stored};
}

Shape outputShape(const Shape& x, const Shape& w, const op::ConvShape& conv) {
  require(conv.strideH >= 1 && conv.strideW >= 1, ErrorCode::InvalidArgument,
          "conv2d: stride must be at least 1, got [", conv.strideH, ", ", conv.strideW, "]");
  require(conv.top >= 0 && conv.left >= 0 && conv.bottom >= 0 && conv.right >= 0, ErrorCode::InvalidArgument,
          "conv2d: padding must not be negative, got [", conv.top, ", ", conv.left, ", ", conv.bottom, ", ", conv.right,
          "]");
  require(conv.dilationH >= 1 && conv.dilationW >= 1, ErrorCode::InvalidArgument,
          "conv2d: dilation must be at least 1, got [", conv.dilationH, ", ", conv.dilationW, "]");
  require(conv.groups >= 1 && w[0] % conv.groups == 0, ErrorCode::InvalidArgument,
          "conv2d: groups must divide the filter's ", w[0], " outputs, got ", conv.groups);
  require(x[1] == w[1] * conv.groups, ErrorCode::ShapeMismatch, "conv2d: x must have ", w[1] * conv.groups,
          " channels for a filter of shape ", w.str(), " in ", conv.groups, " groups, got ", x[1]);
  const int64_t height = x[2] + conv.top + conv.bottom - conv.spanH(w[2]);
  const int64_t width = x[3] + conv.left + conv.right - conv.spanW(w[3]);
  require(height >= 0 && width >= 0, ErrorCode::ShapeMismatch, "conv2d: the filter ", w.str(),
          " is larger than the padded input ", x.str());
  return {x[0], w[0], height / conv.strideH + 1, width / conv.strideW + 1};
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const op::ConvShape& shape, const Tensor& bias, bool relu) {
  checkFloat(x, {"conv2d", "x"});
  Device& device = x.device();
  const op::Act input = image(device, x, {"conv2d", "x"});
  const op::Filter weights = filter(device, w, {"conv2d", "weight"});
  const Shape out = outputShape(x.shape, w.shape, shape);
  const float* shift = optionalVector(device, bias, weights.out, {"conv2d", "bias"});
  Tensor y = device.empty(out, DType::F32, Format::Activation);
  device.launch(op::Conv2d{input, weights, activation(device, y, {"conv2d", "y"}), shape, shift, relu});
  return y;
}

EpilogueGradients conv2dEpilogueBackward(const Tensor& y, const Tensor& dy) {
  checkFloat(y, {"conv2dEpilogueBackward", "y"});
  Device& device = y.device();
  const op::Act output = activation(device, y, {"conv2dEpilogueBackward", "y"});
  const op::Act gradient = activationLike(device, dy, y, {"conv2dEpilogueBackward", "dy"});
  EpilogueGradients out{emptyLike(device, y), emptyVector(device, output.c)};
  // Rectified again a result stays as it is: a normalization that neither shifts nor scales has the same gradients.
  constexpr float unscaled = 1;
  device.launch(op::NormalizeBackward{output, gradient, activation(device, out.dz, {"conv2dEpilogueBackward", "dz"}),
                                      nullptr, nullptr, nullptr, nullptr, nullptr, out.dbias.data(), unscaled, true});
  return out;
}

Tensor conv2dBackwardData(const Tensor& dy, const Tensor& w, const Tensor& x, const op::ConvShape& shape) {
  checkFloat(dy, {"conv2dBackwardData", "dy"});
  Device& device = dy.device();
  const op::Filter weights = filter(device, w, {"conv2dBackwardData", "weight"});
  const op::Act gradient = activation(device, dy, {"conv2dBackwardData", "dy"});
  image(device, x, {"conv2dBackwardData", "x"});
  checkShape(dy, outputShape(x.shape, w.shape, shape), {"conv2dBackwardData", "dy"});
  Tensor dx = emptyLike(device, x);
  device.launch(op::Conv2dBackwardData{gradient, weights, image(device, dx, {"conv2dBackwardData", "dx"}), shape});
  return dx;
}

Tensor conv2dBackwardWeights(const Tensor& x, const Tensor& dy, const Tensor& w, const op::ConvShape& shape,
                             bool rounded) {
  checkFloat(x, {"conv2dBackwardWeights", "x"});
  Device& device = x.device();
  const op::Act input = image(device, x, {"conv2dBackwardWeights", "x"});
  const op::Act gradient = activation(device, dy, {"conv2dBackwardWeights", "dy"});
  filter(device, w, {"conv2dBackwardWeights", "weight"});
  checkShape(dy, outputShape(x.shape, w.shape, shape), {"conv2dBackwardWeights", "dy"});
  const bool shorter = rounded && gradient.stored != DType::F32;
  Tensor dw = shorter ? device.emptyRounded(w) : emptyLike(device, w);
  device.launch(op::Conv2dBackwardWeights{input, gradient, filter(device, dw, {"conv2dBackwardWeights", "dw"}), shape,
                                          shorter ? dw.data<void>() : nullptr});
  return dw;
}

}  // namespace kn
