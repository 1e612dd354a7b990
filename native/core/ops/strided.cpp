#include "strided.h"

#include <algorithm>

#include "checks.h"

namespace kn {

op::Axes op::rowMajorAxes(const Shape& shape) {
  Axes axes;
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    axes[axis] = Axis::of(stride);
    stride *= shape[axis];
  }
  return axes;
}

op::View viewOf(const Device& device, const Tensor& tensor, const Shape& shape) {
  op::View view{tensor.data<void>(), tensor.stored, {}};
  const auto axes = device.axes(tensor.shape, tensor.format);
  const int before = shape.rank() - tensor.shape.rank();
  for (int axis = 0; axis < tensor.shape.rank(); ++axis) {
    if (tensor.shape[axis] > 1) view.axes[before + axis] = axes[axis];
  }
  return view;
}

op::Walk walkOver(const Shape& shape, op::View& first, std::initializer_list<op::View*> others) {
  require(shape.count() <= INT32_MAX, ErrorCode::InvalidArgument, "expected fewer than 2^31 values, got shape ",
          shape.str());
  int order[op::kMostAxes], rank = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] > 1) order[rank++] = axis;
  }
  if (rank == 0) order[rank++] = 0;
  std::stable_sort(order, order + rank, [&](int a, int b) { return first.axes[a].near > first.axes[b].near; });
  op::Walk walk{rank, {}};
  for (int i = 0; i < rank; ++i) walk.sizes[i] = shape.rank() ? static_cast<int32_t>(shape[order[i]]) : 1;
  const auto sort = [&](op::View& view) {
    const op::View old = view;
    for (int i = 0; i < op::kMostAxes; ++i) view.axes[i] = i < rank ? old.axes[order[i]] : op::Axis{};
  };
  for (op::View* view : others) sort(*view);
  sort(first);
  return walk;
}

}  // namespace kn
