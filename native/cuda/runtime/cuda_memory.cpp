#include "cuda_memory.h"

#include "check.h"

namespace kn::cuda {

// Having no room is an answer here, not an error.
void* DeviceMemory::allocate(size_t bytes) {
  void* data = nullptr;
  const bool given = succeeded(cudaSetDevice(deviceIndex_)) && succeeded(cudaMalloc(&data, bytes));
  return given ? data : nullptr;
}

// Waits for the work that may use it.
void DeviceMemory::free(void* data, size_t) {
  succeeded(cudaSetDevice(deviceIndex_));
  succeeded(cudaFree(data));
}

void* PinnedMemory::allocate(size_t bytes) {
  void* data = nullptr;
  return succeeded(cudaMallocHost(&data, bytes)) ? data : nullptr;
}

void PinnedMemory::free(void* data, size_t) { succeeded(cudaFreeHost(data)); }

}  // namespace kn::cuda
