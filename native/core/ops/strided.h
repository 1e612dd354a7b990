#pragma once
#include <array>
#include <initializer_list>

#include "host_device.h"
#include "views.h"

/// Tensors of any layout as functions of their logical indices: what operations that broadcast, reduce and rearrange
/// walk over. The sizes are those of the walk; each tensor has only its distances.
namespace kn::op {

constexpr int kMostAxes = Shape::kMaxRank;

/// Value i of an axis lies j % 8 · near + j / 8 · far behind the first of the whole tensor, j = i + start: that holds
/// for axes that a layout cuts into blocks of eight too. All are 0 along axes that are broadcast.
struct Axis {
  int64_t near = 0, far = 0;
  int32_t start = 0;

  static Axis of(int64_t stride) { return {stride, 8 * stride, 0}; }
  KN_HOST_DEVICE int64_t at(int32_t i) const {
    const int32_t j = i + start;
    return (j & 7) * near + (j >> 3) * far;
  }
};
using Axes = std::array<Axis, kMostAxes>;

/// The axes of a tensor that lies row-major.
Axes rowMajorAxes(const Shape& shape);

struct View {
  void* data = nullptr;
  DType stored = DType::F32;
  Axis axes[kMostAxes];
};

/// The sizes of the axes, outermost first; fewer than 2^31 values. At least one axis.
struct Walk {
  int rank = 0;
  int32_t sizes[kMostAxes] = {};

  int64_t count() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank; ++axis) product *= sizes[axis];
    return product;
  }
};

}  // namespace kn::op

namespace kn {

class Device;

/// A tensor, with its axes aligned to the last of `shape`, along which it is broadcast. It must have its size or 1
/// there.
op::View viewOf(const Device& device, const Tensor& tensor, const Shape& shape);

/// A walk over `shape` in the order of the memory of `first`, without axes of one value; the axes of all views are put
/// into its order.
op::Walk walkOver(const Shape& shape, op::View& first, std::initializer_list<op::View*> others);

}  // namespace kn
