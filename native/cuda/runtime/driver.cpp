#include "driver.h"

#include "check.h"

namespace kn::cuda {
namespace {

std::string versionText(int version) {
  return std::to_string(version / 1000) + '.' + std::to_string(version % 1000 / 10);
}

int runtimeVersion() {
  int version = 0;
  succeeded(cudaRuntimeGetVersion(&version));
  return version;
}

/// 0 without a driver.
int driverVersion() {
  int version = 0;
  succeeded(cudaDriverGetVersion(&version));
  return version;
}

}  // namespace

void checkDriver() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (succeeded(status) && count > 0) return;
  const std::string runtime = versionText(runtimeVersion());
  const int driver = driverVersion();
  require(driver != 0, ErrorCode::DeviceUnavailable,
          "no NVIDIA driver: the loader finds no usable libcuda.so.1. The driver comes with the GPU's kernel module, "
          "for CUDA ",
          runtime,
          " or newer (on Debian: the package nvidia-driver; in a container: start it with "
          "--gpus all). Until then use the CPU");
  require(status != cudaErrorInsufficientDriver, ErrorCode::DeviceUnavailable, "the NVIDIA driver supports CUDA ",
          versionText(driver), ", but this library was built with CUDA ", runtime,
          ": install a newer driver, or build with an older toolkit (npm run cuda:build)");
  require(false, ErrorCode::DeviceUnavailable, "the NVIDIA driver (CUDA ", versionText(driver), ") shows no GPU: ",
          status == cudaSuccess ? "the number of devices is 0; look at nvidia-smi and CUDA_VISIBLE_DEVICES"
                                : cudaGetErrorString(status));
}

int deviceCount() {
  int count = 0;
  KN_CUDA_CHECK(cudaGetDeviceCount(&count));
  return count;
}

CudaDeviceInfo deviceInfo(int index) {
  cudaDeviceProp properties;
  KN_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  return {properties.name, std::to_string(properties.major) + '.' + std::to_string(properties.minor),
          properties.totalGlobalMem};
}

std::string deviceName(int index) {
#ifdef KN_EMULATION
  return index == 0 ? "cuda-emulated" : "cuda-emulated:" + std::to_string(index);
#else
  return "cuda:" + std::to_string(index);
#endif
}

std::string driverVersions() {
  return "CUDA runtime " + versionText(runtimeVersion()) + ", driver " + versionText(driverVersion());
}

}  // namespace kn::cuda
