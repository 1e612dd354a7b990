#include <cstring>

#include "device_memory.h"
#include "runtime.h"
#include "workers.h"

namespace kn::emulation {
namespace {

int multiprocessors() { return static_cast<int>(setting("KN_EMULATION_MULTIPROCESSORS", 4)); }

}  // namespace
}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = deviceTotal();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= deviceTotal()) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "cuda-emulated");
  properties->totalGlobalMem = DeviceMemory::instance().limit();
  properties->sharedMemPerBlock = 48 << 10;
  properties->regsPerBlock = 64 << 10;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  for (int axis = 0; axis < 3; ++axis) {
    properties->maxThreadsDim[axis] = axis < 2 ? 1024 : 64;
    properties->maxGridSize[axis] = axis < 1 ? 0x7fffffff : 65535;
  }
  properties->major = 8;
  properties->minor = 0;
  properties->multiProcessorCount = multiprocessors();
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= deviceTotal()) return failed(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 48 << 10; return cudaSuccess;
    case cudaDevAttrWarpSize: *value = 32; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = multiprocessors(); return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = 8; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; return cudaSuccess;
    default: return failed(cudaErrorInvalidValue);
  }
}

// Whatever its mode, a capture ends where somebody waits for all of the device.
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = entered()) return error;
  if (loseCaptures(currentDevice())) return failed(cudaErrorStreamCaptureUnsupported);
  waitForAll();
  return failed(deviceError());
}
