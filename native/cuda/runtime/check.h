#pragma once
#include <cuda_runtime_api.h>

#include "../../core/runtime/error.h"

namespace kn::cuda {

/// Whether a call has succeeded. The failure of one that has been dealt with must not stay as the runtime's last error,
/// which the next launch would take for its own.
inline bool succeeded(cudaError_t status) {
  if (status != cudaSuccess) cudaGetLastError();
  return status == cudaSuccess;
}

/// Throws with the text of a failed call of the CUDA runtime.
inline void check(cudaError_t status, const char* call) {
  if (succeeded(status)) return;
  const auto code = status == cudaErrorMemoryAllocation ? ErrorCode::OutOfMemory : ErrorCode::DeviceFailed;
  require(false, code, call, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}
#define KN_CUDA_CHECK(call) ::kn::cuda::check(call, #call)

}  // namespace kn::cuda
