#include "pad.h"

#include "checks.h"

namespace kn {
namespace {

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
  const float* gradient = vector(device, dy, splits * (before + channels + after), {"padBeliefBackward", "dy"});
  Tensor dx = emptyVector(device, x.shape[0]);
  device.launch(op::PadBeliefBackward{gradient, dx.data(), splits, channels, before, after, aligned});
  return dx;
}

}  // namespace kn
