#pragma once
#include <algorithm>

#include "../core/ops/strided.h"
#include "parallel.h"

/// Walks over tensors of any layout; see core/ops/strided.h.
namespace kn::cpu {

/// The indices along all axes but the last of the row with this number.
inline void rowIndex(const op::Walk& walk, int64_t row, int32_t (&index)[op::kMostAxes]) {
  for (int axis = walk.rank - 2; axis >= 0; --axis) {
    index[axis] = static_cast<int32_t>(row % walk.sizes[axis]);
    row /= walk.sizes[axis];
  }
}

/// Where a row begins.
inline int64_t rowOffset(const op::Walk& walk, const op::Axis* axes, const int32_t (&index)[op::kMostAxes]) {
  int64_t offset = 0;
  for (int axis = 0; axis < walk.rank - 1; ++axis) offset += axes[axis].at(index[axis]);
  return offset;
}

/// Where a value of the walk lies.
inline int64_t offsetOf(const op::Walk& walk, const op::Axis* axes, int64_t item) {
  int64_t offset = 0;
  for (int axis = walk.rank - 1; axis >= 0; --axis) {
    offset += axes[axis].at(static_cast<int32_t>(item % walk.sizes[axis]));
    item /= walk.sizes[axis];
  }
  return offset;
}

/// Calls body(length, begin...) for every row along the last axis, with where it begins in each view.
template <class Body, class... Views>
void forRows(const op::Walk& walk, const Body& body, const Views&... views) {
  const int32_t length = walk.sizes[walk.rank - 1];
  const int64_t rows = walk.count() / length;
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / length);
  parallelRanges(rows, grain, [&](int64_t begin, int64_t end) {
    int32_t index[op::kMostAxes] = {};
    for (int64_t row = begin; row < end; ++row) {
      rowIndex(walk, row, index);
      body(length, static_cast<float*>(views.data) + rowOffset(walk, views.axes, index)...);
    }
  });
}

}  // namespace kn::cpu
