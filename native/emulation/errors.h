#pragma once
#include <cuda_runtime_api.h>

/// What ends a call, and the device. Nothing here knows of streams, graphs or memory.
namespace kn::emulation {

/// Notes an error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);
/// The error that has ended the device's life, or cudaSuccess. As with a real one, nothing works afterwards.
cudaError_t deviceError();
/// Why no call is possible now, or cudaSuccess.
cudaError_t entered();
/// Counts a kernel; false, and the end of the device, at the one that KN_EMULATION_FAIL_LAUNCH chooses.
bool countLaunch();

/// While one lives, the thread is running a host function, which may not call the runtime.
struct HostFunction {
  HostFunction();
  ~HostFunction();
  HostFunction(const HostFunction&) = delete;
};
bool insideHostFunction();

}  // namespace kn::emulation
