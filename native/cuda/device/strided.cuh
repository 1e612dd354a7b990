#pragma once
#include "../../core/ops/strided.h"
#include "grid.cuh"

/// Walks over tensors of any layout; see core/ops/strided.h.
namespace kn::cuda {

/// Where a value of the walk lies in some tensors. Divisions of 32 bits are four times as fast as those of 64.
template <int Count>
__device__ __forceinline__ void offsetsOf(const op::Walk& walk, const op::Axis* const (&axes)[Count], uint32_t item,
                                          int64_t (&offsets)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) offsets[i] = 0;
  for (int axis = walk.rank - 1; axis >= 0; --axis) {
    const auto size = static_cast<uint32_t>(walk.sizes[axis]);
    const uint32_t rest = item / size;
    const auto index = static_cast<int32_t>(item - rest * size);
    item = rest;
#pragma unroll
    for (int i = 0; i < Count; ++i) offsets[i] += axes[i][axis].at(index);
  }
}

/// A value of a tensor that may be stored in any way: the operands of one launch may differ.
__device__ __forceinline__ float loadAt(const void* data, DType stored, int64_t at) {
  switch (stored) {
    case DType::F16: return toFloat(static_cast<const Half*>(data)[at]);
    case DType::BF16: return toFloat(static_cast<const Brain*>(data)[at]);
    default: return static_cast<const float*>(data)[at];
  }
}

__device__ __forceinline__ void storeAt(void* data, DType stored, int64_t at, float value) {
  switch (stored) {
    case DType::F16: static_cast<Half*>(data)[at] = fromFloat<Half>(value); break;
    case DType::BF16: static_cast<Brain*>(data)[at] = fromFloat<Brain>(value); break;
    default: static_cast<float*>(data)[at] = value;
  }
}

}  // namespace kn::cuda
