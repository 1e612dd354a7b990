#include "max_pool.h"

#include "checks.h"

namespace kn {
namespace {

op::MaxWindows windowsOf(const Shape& window, const op::ConvShape& shape) {
  require(window.rank() == 2, ErrorCode::InvalidArgument, "maxPool2d: window must be [height, width], got ",
          window.str());
  require(shape.strideH >= 1 && shape.strideW >= 1, ErrorCode::InvalidArgument,
          "maxPool2d: stride must be at least 1, got [", shape.strideH, ", ", shape.strideW, "]");
  require(shape.plain(), ErrorCode::InvalidArgument, "maxPool2d: expected no dilation and no groups");
  const auto fits = [](int64_t side, int64_t size) { return side >= 0 && side < size; };
  require(fits(shape.top, window[0]) && fits(shape.bottom, window[0]) && fits(shape.left, window[1]) &&
              fits(shape.right, window[1]),
          ErrorCode::InvalidArgument, "maxPool2d: padding must be at least 0 and less than the window ", window.str(),
          ", got [", shape.top, ", ", shape.left, ", ", shape.bottom, ", ", shape.right, "]");
  return {window[0], window[1], shape};
}

Shape pooledShape(const Shape& x, const op::MaxWindows& windows) {
  const op::ConvShape& shape = windows.shape;
  const int64_t height = x[2] + shape.top + shape.bottom - windows.height;
  const int64_t width = x[3] + shape.left + shape.right - windows.width;
  require(height >= 0 && width >= 0, ErrorCode::ShapeMismatch, "maxPool2d: the window [", windows.height, ", ",
          windows.width, "] is larger than the padded input ", x.str());
  return {x[0], x[1], height / shape.strideH + 1, width / shape.strideW + 1};
}

}  // namespace

Tensor maxPool2d(const Tensor& x, const Shape& window, const op::ConvShape& shape) {
  checkFloat(x, {"maxPool2d", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"maxPool2d", "x"});
  const op::MaxWindows windows = windowsOf(window, shape);
  Tensor y = device.empty(pooledShape(x.shape, windows), DType::F32, Format::Activation);
  device.launch(op::MaxPool2d{input, activation(device, y, {"maxPool2d", "y"}), windows});
  return y;
}

Tensor maxPool2dBackward(const Tensor& x, const Tensor& dy, const Shape& window, const op::ConvShape& shape,
                         int64_t virtualSamples) {
  checkFloat(x, {"maxPool2dBackward", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"maxPool2dBackward", "x"});
  const op::Act gradient = activation(device, dy, {"maxPool2dBackward", "dy"});
  const op::MaxWindows windows = windowsOf(window, shape);
  checkShape(dy, pooledShape(x.shape, windows), {"maxPool2dBackward", "dy"});
  Tensor dx = emptyLike(device, x, virtualSamples);
  device.launch(op::MaxPool2dBackward{input, gradient, activation(device, dx, {"maxPool2dBackward", "dx"}), windows});
  return dx;
}

}  // namespace kn
