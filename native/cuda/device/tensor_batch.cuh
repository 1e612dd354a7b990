#pragma once
#include <cstdint>

#include "grid.cuh"

/// Many tensors in one launch, or in a few: a network has many small ones beside a few large ones.
namespace kn::cuda {

constexpr int64_t kChunk = 4096;  ///< values of a block

/// Tensors as an argument of a kernel; all arguments together may take 4 KB.
template <class Tensor>
struct TensorBatch {
  static constexpr int kMost = 4000 / sizeof(Tensor);
  Tensor tensors[kMost];
  int count;
};

template <class Tensor>
__device__ __forceinline__ int tensorOf(const TensorBatch<Tensor>& batch, int block) {
  int low = 0, high = batch.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.tensors[middle].firstBlock <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// The values of a tensor that the block takes: packs of 16 bytes up to `packsEnd`, then single ones.
struct Chunk {
  int64_t begin, packsEnd, end;
};

__device__ __forceinline__ Chunk chunkOf(int64_t block, int64_t count, bool aligned) {
  const int64_t begin = block * kChunk;
  const int64_t end = begin + kChunk < count ? begin + kChunk : count;
  return {begin, aligned ? begin + (end - begin) / kWide<float> * kWide<float> : begin, end};
}

__device__ __forceinline__ uintptr_t addressOf(const void* data) { return reinterpret_cast<uintptr_t>(data); }

/// Values from `at` on, however they are stored.
template <int V>
__device__ __forceinline__ Pack<V> loadStored(const void* from, DType type, int64_t at) {
  if (type == DType::F16) return load<V>(static_cast<const Half*>(from) + at);
  if (type == DType::BF16) return load<V>(static_cast<const Brain*>(from) + at);
  return load<V>(static_cast<const float*>(from) + at);
}

/// Writes a filter's copy in 16 bits, where the tensor has one.
template <int V>
__device__ __forceinline__ void storeRounded(void* copy, DType type, int64_t at, const Pack<V>& pack) {
  if (!copy) return;
  if (type == DType::F16) {
    store<V>(static_cast<Half*>(copy) + at, pack);
  } else {
    store<V>(static_cast<Brain*>(copy) + at, pack);
  }
}

inline int64_t blocksOf(int64_t count) { return ceilDivide(count, kChunk); }

/// Calls launchBatch(batch, blocks) for as many tensors at a time as fit; `make` gives a tensor its first block.
template <class Tensor, class Items, class Make, class LaunchBatch>
void forBatches(const Items& items, const Make& make, const LaunchBatch& launchBatch) {
  for (size_t first = 0; first < items.size();) {
    TensorBatch<Tensor> batch{};
    int64_t blocks = 0;
    for (; batch.count < TensorBatch<Tensor>::kMost && first < items.size(); ++first) {
      batch.tensors[batch.count++] = make(items[first], static_cast<int32_t>(blocks));
      blocks += blocksOf(items[first].count);
    }
    launchBatch(batch, blocks);
  }
}

}  // namespace kn::cuda
