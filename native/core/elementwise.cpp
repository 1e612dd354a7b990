#include "checks.h"

namespace kn {
namespace {

int64_t physicalCount(const Tensor& t) { return t.device().physicalCount(t.shape, t.format); }

/// The memory of `t`, which must match `like` in shape and format.
float* same(Device& device, const Tensor& t, const Tensor& like, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  checkShape(t, like.shape, name);
  require(t.format == like.format || t.shape.rank() <= 2, ErrorCode::InvalidArgument, name, " must have the ",
          formatName(like.format), " format, got ", formatName(t.format));
  return t.data();
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  checkFloat(a, {"add", "a"});
  Device& device = a.device();
  const float* left = same(device, a, a, {"add", "a"});
  const float* right = same(device, b, a, {"add", "b"});
  Tensor out = emptyLike(device, a);
  device.launch(op::Add{left, right, out.data(), physicalCount(a)});
  return out;
}

void addInto(const Tensor& target, const Tensor& other) {
  checkFloat(target, {"addInto", "target"});
  Device& device = target.device();
  float* left = same(device, target, target, {"addInto", "target"});
  const float* right = same(device, other, target, {"addInto", "other"});
  device.launch(op::Add{left, right, left, physicalCount(target)});
}

Tensor scale(const Tensor& x, double factor) {
  checkFloat(x, {"scale", "x"});
  checkFinite(factor, {"scale", "factor"});
  Device& device = x.device();
  const float* from = same(device, x, x, {"scale", "x"});
  Tensor out = emptyLike(device, x);
  device.launch(op::Scale{from, out.data(), static_cast<float>(factor), nullptr, physicalCount(x)});
  return out;
}

Tensor scaleBy(const Tensor& x, const Tensor& factor) {
  checkFloat(x, {"scaleBy", "x"});
  Device& device = x.device();
  const float* from = same(device, x, x, {"scaleBy", "x"});
  const float* by = vector(device, factor, 1, {"scaleBy", "factor"});
  Tensor out = emptyLike(device, x);
  device.launch(op::Scale{from, out.data(), 1, by, physicalCount(x)});
  return out;
}

Tensor relu(const Tensor& x) {
  checkFloat(x, {"relu", "x"});
  Device& device = x.device();
  const float* from = same(device, x, x, {"relu", "x"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Relu{from, y.data(), physicalCount(x)});
  return y;
}

Tensor reluBackward(const Tensor& y, const Tensor& dy) {
  checkFloat(y, {"reluBackward", "y"});
  Device& device = y.device();
  const float* output = same(device, y, y, {"reluBackward", "y"});
  const float* gradient = same(device, dy, y, {"reluBackward", "dy"});
  Tensor dx = emptyLike(device, y);
  device.launch(op::ReluBackward{output, gradient, dx.data(), physicalCount(y)});
  return dx;
}

Tensor sigmoid(const Tensor& x) {
  checkFloat(x, {"sigmoid", "x"});
  Device& device = x.device();
  const float* from = same(device, x, x, {"sigmoid", "x"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Sigmoid{from, y.data(), physicalCount(x)});
  return y;
}

Tensor sigmoidBackward(const Tensor& y, const Tensor& dy) {
  checkFloat(y, {"sigmoidBackward", "y"});
  Device& device = y.device();
  const float* output = same(device, y, y, {"sigmoidBackward", "y"});
  const float* gradient = same(device, dy, y, {"sigmoidBackward", "dy"});
  Tensor dx = emptyLike(device, y);
  device.launch(op::SigmoidBackward{output, gradient, dx.data(), physicalCount(y)});
  return dx;
}

}  // namespace kn
