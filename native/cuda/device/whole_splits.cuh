#pragma once
#include "last_block.cuh"
#include "planes.cuh"

/// Normalization in one launch, where the rows of a split are one block's: it knows the statistics without another
/// launch, and looks again at what it has just read, which the caches still hold. What all splits together come to,
/// channel by channel, is for the last block of a slab.
namespace kn::cuda {

/// Of a row. Narrow slabs leave more rows to a block at a time, and more blocks to the GPU; an access to memory moves
/// no less than half of it.
constexpr int kSlabBytes = 64;

/// The cut of the rows by whole splits; of no use where it has more than one chunk.
template <class T, int V>
Planes wholeSplits(const op::Act& x, int64_t splits) {
  return planesOf(x, splits, V, kSumCut, kSlabBytes / (V * static_cast<int>(sizeof(T))));
}

/// The channels of a slab.
struct Slab {
  int64_t first;
  int count;
  int number;

  template <int V>
  static __device__ __forceinline__ Slab of(const Planes& p, int number) {
    const int64_t width = static_cast<int64_t>(p.width) * V, first = number * width;
    return {first, static_cast<int>(p.channels - first < width ? p.channels - first : width), number};
  }
  template <int V>
  static __device__ __forceinline__ Slab ofBlock(const Planes& p) {
    return of<V>(p, static_cast<int>(blockIdx.x % p.slabs));
  }
};

/// Calls `finish(slab)` for each slab, in the last of its blocks: whatever they wrote before is visible there. All
/// threads of a block must call it.
template <int V, class Finish>
__device__ __forceinline__ void finishSlabs(const Planes& p, unsigned* tickets, const Finish& finish) {
  // Where there are more slabs than tickets, several share one.
  const int ticket = static_cast<int>(blockIdx.x % p.slabs) % kTickets;
  const int slabs = (p.slabs - ticket + kTickets - 1) / kTickets;
  if (!isLastBlock(tickets + ticket, static_cast<unsigned>(slabs * p.splits))) return;
  for (int slab = ticket; slab < p.slabs; slab += kTickets) finish(Slab::of<V>(p, slab));
}

}  // namespace kn::cuda
