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

/// A function of each value.
template <class Op>
Tensor map(const Tensor& x, const char* function) {
  checkFloat(x, {function, "x"});
  Device& device = x.device();
  const float* from = same(device, x, x, {function, "x"});
  Tensor y = emptyLike(device, x);
  device.launch(Op{from, y.data(), physicalCount(x)});
  return y;
}

/// Its gradient, from its results.
template <class Op>
Tensor mapBackward(const Tensor& y, const Tensor& dy, const char* function) {
  checkFloat(y, {function, "y"});
  Device& device = y.device();
  const float* output = same(device, y, y, {function, "y"});
  const float* gradient = same(device, dy, y, {function, "dy"});
  Tensor dx = emptyLike(device, y);
  device.launch(Op{output, gradient, dx.data(), physicalCount(y)});
  return dx;
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

Tensor relu(const Tensor& x) { return map<op::Relu>(x, "relu"); }

Tensor reluBackward(const Tensor& y, const Tensor& dy) { return mapBackward<op::ReluBackward>(y, dy, "reluBackward"); }

Tensor sigmoid(const Tensor& x) { return map<op::Sigmoid>(x, "sigmoid"); }

Tensor sigmoidBackward(const Tensor& y, const Tensor& dy) {
  return mapBackward<op::SigmoidBackward>(y, dy, "sigmoidBackward");
}

}  // namespace kn
