#include "layout.h"

#include "checks.h"

namespace kn {
namespace {

/// Checks that x is a float32 tensor of this device.
void checkSource(Device& device, const Tensor& x, Name name) {
  checkFloat(x, name);
  checkDevice(device, x, name);
}

Tensor result(Device& device, const Shape& shape, Format format, const char* function) {
  const bool fits = format == Format::Plain || shape.rank() == 4 || (format == Format::Activation && shape.rank() == 2);
  require(fits, ErrorCode::ShapeMismatch, function, ": ", shape.str(), " can't have the ", formatName(format),
          " format");
  return device.empty(shape, DType::F32, format);
}

void rearrange(Device& device, const Shape& shape, op::View from, op::View to) {
  op::Rearrange launch{{}, from, to};
  launch.walk = walkOver(shape, launch.to, {&launch.from});
  device.launch(launch);
}

/// The view of a part of `tensor`, which begins at `starts` and has `shape`.
op::View partOf(Device& device, const Tensor& tensor, const std::vector<int64_t>& starts, const Shape& shape,
                const char* function) {
  const int rank = tensor.shape.rank();
  require(static_cast<int>(starts.size()) == rank && shape.rank() == rank, ErrorCode::ShapeMismatch, function,
          ": a part of ", tensor.shape.str(), " must have ", rank, " axes, got starts for ", starts.size(),
          " and shape ", shape.str());
  op::View view{tensor.data<void>(), tensor.stored, {}};
  const auto axes = device.axes(tensor.shape, tensor.format);
  for (int axis = 0; axis < rank; ++axis) {
    const int64_t start = starts[axis], end = start + shape[axis];
    require(start >= 0 && end <= tensor.shape[axis], ErrorCode::InvalidArgument, function, ": [", start, ", ", end,
            ") is not a range of axis ", axis, " of ", tensor.shape.str());
    op::Axis along = axes[axis];
    along.start = static_cast<int32_t>(start);
    // A walk leaves axes of one value out.
    if (shape[axis] == 1) {
      view.data = static_cast<char*>(view.data) + along.at(0) * static_cast<int64_t>(dtypeSize(tensor.stored));
    } else {
      view.axes[axis] = along;
    }
  }
  return view;
}

}  // namespace

Tensor permute(const Tensor& x, const std::vector<int64_t>& axes, Format format) {
  constexpr const char* fn = "permute";
  checkAlive(x, {fn, "x"});
  Device& device = x.device();
  checkSource(device, x, {fn, "x"});
  const int rank = x.shape.rank();
  require(static_cast<int>(axes.size()) == rank, ErrorCode::ShapeMismatch, fn, ": axes must name the ", rank,
          " axes of ", x.shape.str(), ", got ", axes.size());
  const auto from = device.axes(x.shape, x.format);
  op::View view{x.data<void>(), x.stored, {}};
  Shape shape;
  unsigned seen = 0;
  for (int i = 0; i < rank; ++i) {
    const int64_t axis = axes[i];
    require(axis >= 0 && axis < rank && !(seen >> axis & 1), ErrorCode::InvalidArgument, fn, ": axes must be 0 to ",
            rank - 1, " in any order, got ", axis, " at ", i);
    seen |= 1u << axis;
    shape.push(x.shape[static_cast<int>(axis)]);
    view.axes[i] = from[axis];
  }
  Tensor out = result(device, shape, format, fn);
  rearrange(device, shape, view, viewOf(device, out, shape));
  return out;
}

Tensor slice(const Tensor& x, const std::vector<int64_t>& starts, const Shape& shape, Format format) {
  constexpr const char* fn = "slice";
  checkAlive(x, {fn, "x"});
  Device& device = x.device();
  checkSource(device, x, {fn, "x"});
  const op::View part = partOf(device, x, starts, shape, fn);
  Tensor out = result(device, shape, format, fn);
  rearrange(device, shape, part, viewOf(device, out, shape));
  return out;
}

void place(const Tensor& part, const Tensor& into, const std::vector<int64_t>& starts) {
  constexpr const char* fn = "place";
  checkAlive(part, {fn, "part"});
  Device& device = part.device();
  checkSource(device, part, {fn, "part"});
  checkSource(device, into, {fn, "into"});
  const op::View target = partOf(device, into, starts, part.shape, fn);
  rearrange(device, part.shape, viewOf(device, part, part.shape), target);
}

Tensor broadcastTo(const Tensor& x, const Shape& shape, Format format) {
  constexpr const char* fn = "broadcastTo";
  checkAlive(x, {fn, "x"});
  Device& device = x.device();
  checkSource(device, x, {fn, "x"});
  const int before = shape.rank() - x.shape.rank();
  bool fits = before >= 0;
  for (int axis = 0; fits && axis < x.shape.rank(); ++axis) {
    fits = x.shape[axis] == 1 || x.shape[axis] == shape[before + axis];
  }
  require(fits, ErrorCode::ShapeMismatch, fn, ": ", x.shape.str(), " can't be broadcast to ", shape.str());
  Tensor out = result(device, shape, format, fn);
  rearrange(device, shape, viewOf(device, x, shape), viewOf(device, out, shape));
  return out;
}

}  // namespace kn
