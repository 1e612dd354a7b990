#include "elementwise.h"

#include <map>

#include "checks.h"
#include "memory.h"
#include "parameter_checks.h"

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

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  checkFloat(a, {"add", "a"});
  Device& device = a.device();
  const op::Values left = same(device, a, a, {"add", "a"});
  const op::Values right = same(device, b, a, {"add", "b"});
  Tensor out = emptyLike(device, a);
  device.launch(op::Add{left, right, values(out)});
  return out;
}

std::vector<Tensor> addEach(const std::vector<AddPair>& pairs) {
  constexpr const char* fn = "addEach";
  std::vector<Tensor> out;
  std::map<Device*, op::AddEach> launches;
  for (const auto& [a, b] : pairs) {
    checkFloat(a, {fn, "a"});
    Device& device = a.device();
    const bool shortFilter = a.format == Format::Filter && a.stored != DType::F32;
    if (!b && !shortFilter) {
      out.push_back(a);
    } else if (b && (a.format != b.format || (a.stored != DType::F32 && !shortFilter))) {
      out.push_back(add(a, b));
    } else {
      const op::Values left = same(device, a, a, {fn, "a"});
      const op::Values right = b ? same(device, b, a, {fn, "b"}) : op::Values{};
      out.push_back(emptyLike(device, a));
      launches[&device].pairs.push_back({left, right, out.back().data(), parameterCount(device, a, {fn, "a"})});
    }
  }
  for (const auto& [device, sums] : launches) device->launch(sums);
  return out;
}

void addInto(const Tensor& target, const Tensor& other) {
  checkFloat(target, {"addInto", "target"});
  Device& device = target.device();
  const op::Values left = same(device, target, target, {"addInto", "target"});
  const op::Values right = same(device, other, target, {"addInto", "other"});
  device.launch(op::Add{left, right, left});
  written(target);
}

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

Tensor relu(const Tensor& x) {
  checkFloat(x, {"relu", "x"});
  Device& device = x.device();
  const op::Values from = same(device, x, x, {"relu", "x"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Relu{from, values(y)});
  return y;
}

Tensor reluBackward(const Tensor& y, const Tensor& dy) {
  checkFloat(y, {"reluBackward", "y"});
  Device& device = y.device();
  const op::Values output = same(device, y, y, {"reluBackward", "y"});
  const op::Values gradient = same(device, dy, y, {"reluBackward", "dy"});
  Tensor dx = emptyLike(device, y);
  device.launch(op::ReluBackward{output, gradient, values(dx)});
  return dx;
}

Tensor map(const Tensor& x, MapKind kind, double a, double b) {
  checkFloat(x, {"map", "x"});
  Device& device = x.device();
  const op::Values from = same(device, x, x, {"map", "x"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Map{from, values(y), kind, static_cast<float>(a), static_cast<float>(b)});
  return y;
}

Tensor mapBackward(const Tensor& at, const Tensor& dy, MapKind kind, double a, double b) {
  checkFloat(at, {"mapBackward", "at"});
  Device& device = at.device();
  const op::Values from = same(device, at, at, {"mapBackward", "at"});
  const op::Values gradient = same(device, dy, at, {"mapBackward", "dy"});
  Tensor dx = emptyLike(device, at);
  device.launch(op::MapBackward{from, gradient, values(dx), kind, static_cast<float>(a), static_cast<float>(b)});
  return dx;
}

}  // namespace kn
