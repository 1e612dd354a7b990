#include "linear.h"

#include "checks.h"

namespace kn {
namespace {

op::Act features(Device& device, const Tensor& x, Name name) {
  require(x.shape.rank() == 2, ErrorCode::ShapeMismatch, name, " must have shape [N, features], got ", x.shape.str());
  return activation(device, x, name);
}

const float* matrix(Device& device, const Tensor& w, int64_t in, Name name) {
  checkFloat(w, name);
  checkDevice(device, w, name);
  require(w.shape.rank() == 2 && w.shape[0] == in, ErrorCode::ShapeMismatch, name, " must have shape [", in,
          ", out], got ", w.shape.str());
  return w.data();
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b) {
  checkFloat(x, {"linear", "x"});
  Device& device = x.device();
  const op::Act input = features(device, x, {"linear", "x"});
  const float* weight = matrix(device, w, input.c, {"linear", "weight"});
  const float* bias = optionalVector(device, b, w.shape[1], {"linear", "bias"});
  Tensor y = device.empty({input.n, w.shape[1]}, DType::F32, Format::Activation);
  device.launch(op::Linear{input.values(), weight, bias, y.data(), input.n, input.c, w.shape[1]});
  return y;
}

LinearGradients linearBackward(const Tensor& x, const Tensor& w, const Tensor& dy, bool needDx, bool bias) {
  checkFloat(x, {"linearBackward", "x"});
  Device& device = x.device();
  const op::Act input = features(device, x, {"linearBackward", "x"});
  const float* weight = matrix(device, w, input.c, {"linearBackward", "weight"});
  const op::Act gradient = features(device, dy, {"linearBackward", "dy"});
  checkShape(dy, {input.n, w.shape[1]}, {"linearBackward", "dy"});
  LinearGradients out;
  if (needDx) out.dx = emptyLike(device, x);
  out.dw = emptyLike(device, w);
  if (bias) out.db = emptyVector(device, w.shape[1]);
  device.launch(op::LinearBackward{input.values(), weight, gradient.values(), needDx ? out.dx.data() : nullptr,
                                   out.dw.data(), bias ? out.db.data() : nullptr, input.n, input.c, w.shape[1]});
  return out;
}

}  // namespace kn
