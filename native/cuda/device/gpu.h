#pragma once
/// The one header of CUDA that kernels include. nvcc compiles them for GPUs, g++ for the emulation (native/emulation),
/// from the same source: each build puts its own kernel_language.h on the include path. What makes that possible:
/// launches go through `launch`, shared memory through KN_SHARED, warp operations carry full masks, no thread returns
/// before a barrier, at most one barrier stands on a line, half types are only loaded and stored, fused multiply-adds
/// are written out as fmaf.
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <kernel_language.h>
