#pragma once
#include <cuda_runtime_api.h>

#include "../../core/runtime/error.h"

namespace kn::cuda {

/// Throws with the text of a failed call of the CUDA runtime.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  const auto code = status == cudaErrorMemoryAllocation ? ErrorCode::OutOfMemory : ErrorCode::DeviceFailed;
  require(false, code, call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}
#define KN_CUDA_CHECK(call) ::kn::cuda::check(call, #call)

}  // namespace kn::cuda
