#include "cuda_memory.h"

#include <cuda_runtime_api.h>

namespace kn::cuda {
namespace {

/// Having no room is an answer here, not an error that later calls should report.
void* orNull(cudaError_t status, void* data) {
  if (status == cudaSuccess) return data;
  cudaGetLastError();
  return nullptr;
}

}  // namespace

void* DeviceMemory::allocate(size_t bytes) {
  cudaSetDevice(deviceIndex_);
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  return orNull(status, data);
}

// Waits for the work that may use it.
void DeviceMemory::free(void* data, size_t) {
  cudaSetDevice(deviceIndex_);
  cudaFree(data);
}

void* PinnedMemory::allocate(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMallocHost(&data, bytes);
  return orNull(status, data);
}

void PinnedMemory::free(void* data, size_t) { cudaFreeHost(data); }

}  // namespace kn::cuda
