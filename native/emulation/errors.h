#pragma once
#include <cuda_runtime_api.h>

/// What ends a call, and a device. Nothing here knows of streams, graphs or memory.
namespace kn::emulation {

constexpr int kMostDevices = 8;
/// KN_EMULATION_DEVICES, 2 unless set.
int deviceTotal();
/// The calling thread's.
int currentDevice();

/// Notes an error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);
/// The error that has ended the life of a device, or cudaSuccess. As with a real one, nothing works afterwards.
cudaError_t deviceError(int device = currentDevice());
/// What every function of the runtime begins with: counts the call, and tells why it is not possible, or cudaSuccess.
cudaError_t entered(const char* function = __builtin_FUNCTION());
/// The same for functions that give something back: they do so also where they report an error, which is then an
/// earlier one.
cudaError_t left(const char* function = __builtin_FUNCTION());
/// Counts a kernel; false, and the end of the device, at the one that KN_EMULATION_FAIL_LAUNCH chooses.
bool countLaunch(int device);

/// While one lives, the thread is running a host function, which may not call the runtime.
struct HostFunction {
  HostFunction();
  ~HostFunction();
  HostFunction(const HostFunction&) = delete;
};
bool insideHostFunction();

}  // namespace kn::emulation
