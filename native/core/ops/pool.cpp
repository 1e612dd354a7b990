#include "pool.h"

#include "checks.h"

namespace kn {
namespace {

Shape pooledShape(const Shape& x, int64_t size) {
  require(size >= 1 && size <= x[2] && size <= x[3], ErrorCode::InvalidArgument,
          "avgPool2d: size must be between 1 and the input's height and width, got ", size, " for ", x.str());
  return {x[0], x[1], x[2] / size, x[3] / size};
}

}  // namespace

Tensor avgPool2d(const Tensor& x, int64_t size) {
  checkFloat(x, {"avgPool2d", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"avgPool2d", "x"});
  Tensor y = device.empty(pooledShape(x.shape, size), DType::F32, Format::Activation);
  device.launch(op::AvgPool2d{input, activation(device, y, {"avgPool2d", "y"}), size});
  return y;
}

Tensor avgPool2dBackward(const Tensor& dy, const Tensor& x, int64_t size, int64_t virtualSamples) {
  checkFloat(dy, {"avgPool2dBackward", "dy"});
  Device& device = dy.device();
  activation4(device, x, {"avgPool2dBackward", "x"});
  const op::Act gradient = activation(device, dy, {"avgPool2dBackward", "dy"});
  checkShape(dy, pooledShape(x.shape, size), {"avgPool2dBackward", "dy"});
  Tensor dx = emptyLike(device, x, virtualSamples);
  device.launch(op::AvgPool2dBackward{gradient, activation(device, dx, {"avgPool2dBackward", "dx"}), size});
  return dx;
}

Tensor globalAvgPool(const Tensor& x) {
  checkFloat(x, {"globalAvgPool", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"globalAvgPool", "x"});
  Tensor y = device.empty({input.n, input.c}, DType::F32, Format::Activation);
  device.launch(op::GlobalAvgPool{input, activation(device, y, {"globalAvgPool", "y"})});
  return y;
}

Tensor globalAvgPoolBackward(const Tensor& dy, const Tensor& x, int64_t virtualSamples) {
  checkFloat(dy, {"globalAvgPoolBackward", "dy"});
  Device& device = dy.device();
  activation4(device, x, {"globalAvgPoolBackward", "x"});
  const op::Act gradient = activation(device, dy, {"globalAvgPoolBackward", "dy"});
  checkShape(dy, {x.shape[0], x.shape[1]}, {"globalAvgPoolBackward", "dy"});
  Tensor dx = emptyLike(device, x, virtualSamples);
  device.launch(op::GlobalAvgPoolBackward{gradient, activation(device, dx, {"globalAvgPoolBackward", "dx"})});
  return dx;
}

}  // namespace kn
