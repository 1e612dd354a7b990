#pragma once
#include <algorithm>
#include <utility>

#include "../runtime/context.h"
#include "values.cuh"

/// Kernels over independent items: thread i of the whole grid takes items i, i + step, i + 2·step, ... The number of
/// blocks depends on the problem alone, never on the GPU, and stays below the limits of a grid.
namespace kn::cuda {

constexpr int kItemThreads = 256;
constexpr int64_t kMostBlocks = 1 << 14;

inline dim3 blocksFor(int64_t tasks) {
  return dim3(static_cast<unsigned>(std::max<int64_t>(1, std::min(tasks, kMostBlocks))));
}

__device__ __forceinline__ int64_t firstItem() {
  return static_cast<int64_t>(blockIdx.x) * kItemThreads + static_cast<int64_t>(threadIdx.x);
}
__device__ __forceinline__ int64_t itemStep() { return static_cast<int64_t>(gridDim.x) * kItemThreads; }

/// A block for each task, or for each of so many tasks in turn.
template <class... P, class... A>
void launchTasks(Context& context, int64_t tasks, void (*kernel)(P...), A&&... arguments) {
  launch(kernel, blocksFor(tasks), dim3(kItemThreads), 0, context.stream, std::forward<A>(arguments)...);
}

/// A thread for each item.
template <class... P, class... A>
void launchItems(Context& context, int64_t items, void (*kernel)(P...), A&&... arguments) {
  launchTasks(context, ceilDivide(items, kItemThreads), kernel, std::forward<A>(arguments)...);
}

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

/// The sum over the warp, in a fixed order, for all of its lanes, which must all call it.
template <class T>
__device__ __forceinline__ T sumOfWarp(T mine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) mine += __shfl_xor_sync(kAllLanes, mine, distance);
  return mine;
}

/// The sum over the block, in a fixed order, for thread 0. All of its threads must call it.
template <class T>
__device__ __forceinline__ T sumOfBlock(T mine) {
  KN_SHARED(T, sums, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  sums[thread] = mine;
  __syncthreads();
  for (int half = kItemThreads / 2; half > 0; half /= 2) {
    if (thread < half) sums[thread] += sums[thread + half];
    __syncthreads();
  }
  return sums[0];
}

/// V float32 values beside a pack of V shorter ones: two accesses of 16 bytes where V is 8.
template <int V>
__device__ __forceinline__ Pack<V> loadFloats(const float* from) {
  if constexpr (V <= 4) {
    return load<V>(from);
  } else {
    Pack<V> pack;
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const Pack<4> part = load<4>(from + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) pack[i + j] = part[j];
    }
    return pack;
  }
}

}  // namespace kn::cuda
