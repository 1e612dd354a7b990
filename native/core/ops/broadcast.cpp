#include "broadcast.h"

#include <algorithm>

#include "checks.h"

namespace kn {
namespace {

/// What messages call the function.
const char* nameOf(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::Add: return "add";
    case BinaryKind::Subtract: return "sub";
    case BinaryKind::Multiply: return "mul";
    case BinaryKind::Divide: return "div";
    case BinaryKind::Maximum: return "maximum";
    case BinaryKind::Minimum: return "minimum";
    case BinaryKind::Equal: return "equal";
    case BinaryKind::Greater: return "greater";
    case BinaryKind::Where:
    case BinaryKind::WhereNot: return "where";
  }
  return "binary";
}

Shape broadcastShape(const Shape& a, const Shape& b, const char* function) {
  Shape out;
  const int rank = std::max(a.rank(), b.rank());
  for (int axis = 0; axis < rank; ++axis) {
    const int inA = axis - (rank - a.rank()), inB = axis - (rank - b.rank());
    const int64_t left = inA < 0 ? 1 : a[inA], right = inB < 0 ? 1 : b[inB];
    require(left == right || left == 1 || right == 1, ErrorCode::ShapeMismatch, function, ": ", a.str(), " and ",
            b.str(), " can't be broadcast to one shape: sizes must be equal, or one of them 1");
    out.push(std::max(left, right));
  }
  return out;
}

Format resultFormat(const Tensor& a, const Tensor& b, const Shape& shape) {
  if (a.shape == shape) return a.format;
  if (b.shape == shape) return b.format;
  const bool activation = shape.rank() == 4 && (a.format == Format::Activation || b.format == Format::Activation);
  return activation ? Format::Activation : Format::Plain;
}

}  // namespace

Tensor binary(const Tensor& a, const Tensor& b, BinaryKind kind) {
  const char* function = nameOf(kind);
  checkFloat(a, {function, "a"});
  Device& device = a.device();
  checkDevice(device, a, {function, "a"});
  checkFloat(b, {function, "b"});
  checkDevice(device, b, {function, "b"});
  const Shape shape = broadcastShape(a.shape, b.shape, function);
  Tensor out = device.empty(shape, DType::F32, resultFormat(a, b, shape));
  op::Binary launch{{}, viewOf(device, a, shape), viewOf(device, b, shape), viewOf(device, out, shape), kind, 0};
  const bool alike = a.shape == b.shape && (a.format == b.format || shape.rank() <= 2) && a.stored == b.stored;
  if (alike) launch.flat = device.physicalCount(shape, out.format);
  launch.walk = walkOver(shape, launch.out, {&launch.a, &launch.b});
  device.launch(launch);
  return out;
}

}  // namespace kn
