#include "checks.h"

namespace kn {
namespace {

Shape pooledShape(const Shape& x, int64_t size) {
  require(size >= 1 && size <= x[2] && size <= x[3], ErrorCode::InvalidArgument,
          "avgPool2d: size must be between 1 and the input's height and width, got ", size, " for ", x.str());
  return {x[0], x[1], x[2] / size, x[3] / size};
}

Shape paddedShape(const Shape& x, int64_t before, int64_t after) {
  require(before >= 0 && after >= 0, ErrorCode::InvalidArgument, "padChannels: before and after must not be negative, ",
          "got ", before, " and ", after);
  return {x[0], before + x[1] + after, x[2], x[3]};
}

int64_t beliefChannels(const Tensor& x, int64_t splits, int64_t before, int64_t after, Name name) {
  require(splits >= 1 && x.shape.rank() == 1 && x.shape[0] % splits == 0, ErrorCode::ShapeMismatch, name,
          " must be a vector of splits·channels values for ", splits, " splits, got ", x.shape.str());
  require(before >= 0 && after >= 0, ErrorCode::InvalidArgument, name, ": padding must not be negative, got ", before,
          " and ", after);
  return x.shape[0] / splits;
}

}  // namespace

Tensor avgPool(const Tensor& x, int64_t size) {
  checkFloat(x, {"avgPool2d", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"avgPool2d", "x"});
  Tensor y = device.empty(pooledShape(x.shape, size), DType::F32, Format::Activation);
  device.launch(op::AvgPool{input, activation(device, y, {"avgPool2d", "y"}), size});
  return y;
}

Tensor avgPoolBackward(const Tensor& dy, const Tensor& x, int64_t size, int64_t extraSamples) {
  checkFloat(dy, {"avgPool2dBackward", "dy"});
  Device& device = dy.device();
  activation4(device, x, {"avgPool2dBackward", "x"});
  const op::Act gradient = activation(device, dy, {"avgPool2dBackward", "dy"});
  checkShape(dy, pooledShape(x.shape, size), {"avgPool2dBackward", "dy"});
  Tensor dx = emptyLike(device, x, extraSamples);
  device.launch(op::AvgPoolBackward{gradient, activation(device, dx, {"avgPool2dBackward", "dx"}), size});
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

Tensor globalAvgPoolBackward(const Tensor& dy, const Tensor& x, int64_t extraSamples) {
  checkFloat(dy, {"globalAvgPoolBackward", "dy"});
  Device& device = dy.device();
  activation4(device, x, {"globalAvgPoolBackward", "x"});
  const op::Act gradient = activation(device, dy, {"globalAvgPoolBackward", "dy"});
  checkShape(dy, {x.shape[0], x.shape[1]}, {"globalAvgPoolBackward", "dy"});
  Tensor dx = emptyLike(device, x, extraSamples);
  device.launch(op::GlobalAvgPoolBackward{gradient, activation(device, dx, {"globalAvgPoolBackward", "dx"})});
  return dx;
}

Tensor padChannels(const Tensor& x, int64_t before, int64_t after) {
  checkFloat(x, {"padChannels", "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {"padChannels", "x"});
  Tensor y = device.empty(paddedShape(x.shape, before, after), DType::F32, Format::Activation);
  device.launch(op::PadChannels{input, activation(device, y, {"padChannels", "y"}), before});
  return y;
}

Tensor padChannelsBackward(const Tensor& dy, const Tensor& x, int64_t before) {
  checkFloat(dy, {"padChannelsBackward", "dy"});
  Device& device = dy.device();
  activation4(device, x, {"padChannelsBackward", "x"});
  const op::Act gradient = activation4(device, dy, {"padChannelsBackward", "dy"});
  checkShape(dy, paddedShape(x.shape, before, dy.shape[1] - x.shape[1] - before), {"padChannelsBackward", "dy"});
  Tensor dx = emptyLike(device, x);
  device.launch(op::PadChannelsBackward{gradient, activation(device, dx, {"padChannelsBackward", "dx"}), before});
  return dx;
}

Tensor padBelief(const Tensor& x, int64_t splits, int64_t before, int64_t after, bool aligned) {
  checkFloat(x, {"padBelief", "belief"});
  Device& device = x.device();
  const int64_t channels = beliefChannels(x, splits, before, after, {"padBelief", "belief"});
  const float* from = vector(device, x, x.shape[0], {"padBelief", "belief"});
  Tensor y = emptyVector(device, splits * (before + channels + after));
  device.launch(op::PadBelief{from, y.data(), splits, channels, before, after, aligned});
  return y;
}

Tensor padBeliefBackward(const Tensor& dy, const Tensor& x, int64_t splits, int64_t before, int64_t after,
                         bool aligned) {
  checkFloat(dy, {"padBeliefBackward", "dy"});
  Device& device = dy.device();
  const int64_t channels = beliefChannels(x, splits, before, after, {"padBeliefBackward", "belief"});
  const float* gradient =
      vector(device, dy, splits * (before + channels + after), {"padBeliefBackward", "dy"});
  Tensor dx = emptyVector(device, x.shape[0]);
  device.launch(op::PadBeliefBackward{gradient, dx.data(), splits, channels, before, after, aligned});
  return dx;
}

}  // namespace kn
