#pragma once
#include "../runtime/context.h"
#include "gpu.h"

namespace kn::cuda {

/// Whether the block is the last of `count` ones to come here; it then sees what the others have written before.
/// `counter` is zero, and is again after the last one. Which one that is must make no difference to what it computes.
/// All threads of the block must call it.
__device__ __forceinline__ bool isLastBlock(unsigned* counter, unsigned count) {
  KN_SHARED(unsigned, ticket, [1]);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    ticket[0] = atomicAdd(counter, 1u);
    if (ticket[0] == count - 1) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  return ticket[0] == count - 1;
}

}  // namespace kn::cuda
