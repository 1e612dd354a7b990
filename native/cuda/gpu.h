#pragma once
/// The one header of CUDA that kernels include. nvcc compiles them for GPUs, g++ for the emulation (native/emulation),
/// from the same source. What makes that possible: launches go through `launch`, shared memory through KN_SHARED, warp
/// operations carry full masks, no thread returns before a barrier, at most one barrier stands on a line, half types
/// are only loaded and stored, fused multiply-adds are written out as fmaf.
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "check.h"

#ifdef __CUDACC__

#define KN_SHARED(type, name, size) __shared__ type name size

namespace kn::cuda {

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A&&... arguments) {
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(arguments)...);
  check(cudaGetLastError(), "kernel launch");
}

}  // namespace kn::cuda

#else
#include "../emulation/kernel_language.h"
#endif
