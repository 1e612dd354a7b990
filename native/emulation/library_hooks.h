#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

/// What a played library in a file of its own may ask of the emulated runtime.
namespace kn::emulation {

struct LibraryHooks {
  /// Appends to a stream of the current device, or to the graph that is captured there.
  cudaError_t (*enqueue)(cudaStream_t stream, std::function<void()> work);
  int (*currentDevice)();
  /// Whether all of a range belongs to one allocation of the device.
  bool (*owns)(int device, const void* data, size_t bytes);
};

constexpr const char* kLibraryHooks = "kalman_norm_emulation_hooks";

}  // namespace kn::emulation
