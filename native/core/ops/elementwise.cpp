#include "elementwise.h"

#include "checks.h"

namespace kn {
namespace {

op::Values values(const Tensor& t) { return {t.data<void>(), t.device().physicalCount(t.shape, t.format), t.stored}; }

/// The values of `t`, which must match `like` in shape and format.
op::Values same(Device& device, const Tensor& t, const Tensor& like, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  checkShape(t, like.shape, name);
  require(t.format == like.format || t.shape.rank() <= 2, ErrorCode::InvalidArgument, name, " must have the ",
          formatName(like.format), " format, got ", formatName(t.format));
  return values(t);
}

/// A function of each value.
template <class Op>
Tensor map(const Tensor& x, const char* function) {
  checkFloat(x, {function, "x"});
  Device& device = x.device();
  const op::Values from = same(device, x, x, {function, "x"});
  Tensor y = emptyLike(device, x);
  device.launch(Op{from, values(y)});
  return y;
}

/// Its gradient, from its results.
template <class Op>
Tensor mapBackward(const Tensor& y, const Tensor& dy, const char* function) {
  checkFloat(y, {function, "y"});
  Device& device = y.device();
  const op::Values output = same(device, y, y, {function, "y"});
  const op::Values gradient = same(device, dy, y, {function, "dy"});
  Tensor dx = emptyLike(device, y);
  device.launch(Op{output, gradient, values(dx)});
  return dx;
}

/// A function of two values each.
template <class Op>
Tensor combine(const Tensor& a, const Tensor& b, const char* function) {
  checkFloat(a, {function, "a"});
  Device& device = a.device();
  const op::Values left = same(device, a, a, {function, "a"});
  const op::Values right = same(device, b, a, {function, "b"});
  Tensor out = emptyLike(device, a);
  device.launch(Op{left, right, values(out)});
  return out;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return combine<op::Add>(a, b, "add"); }

void addInto(const Tensor& target, const Tensor& other) {
  checkFloat(target, {"addInto", "target"});
  Device& device = target.device();
  const op::Values left = same(device, target, target, {"addInto", "target"});
  const op::Values right = same(device, other, target, {"addInto", "other"});
  device.launch(op::Add{left, right, left});
}

Tensor multiply(const Tensor& a, const Tensor& b) { return combine<op::Multiply>(a, b, "multiply"); }

Tensor scale(const Tensor& x, double factor) {
  checkFloat(x, {"scale", "x"});
  checkFinite(factor, {"scale", "factor"});
  Device& device = x.device();
  const op::Values from = same(device, x, x, {"scale", "x"});
  Tensor out = emptyLike(device, x);
  device.launch(op::Scale{from, values(out), static_cast<float>(factor), nullptr});
  return out;
}

Tensor scaleBy(const Tensor& x, const Tensor& factor) {
  checkFloat(x, {"scaleBy", "x"});
  Device& device = x.device();
  const op::Values from = same(device, x, x, {"scaleBy", "x"});
  const float* by = vector(device, factor, 1, {"scaleBy", "factor"});
  Tensor out = emptyLike(device, x);
  device.launch(op::Scale{from, values(out), 1, by});
  return out;
}

Tensor relu(const Tensor& x) { return map<op::Relu>(x, "relu"); }

Tensor reluBackward(const Tensor& y, const Tensor& dy) { return mapBackward<op::ReluBackward>(y, dy, "reluBackward"); }

Tensor sigmoid(const Tensor& x) { return map<op::Sigmoid>(x, "sigmoid"); }

Tensor sigmoidBackward(const Tensor& y, const Tensor& dy) {
  return mapBackward<op::SigmoidBackward>(y, dy, "sigmoidBackward");
}

}  // namespace kn
