#pragma once
#include <string>

#include "cuda_device.h"

/// What the CUDA runtime knows of the driver and of the GPUs.
namespace kn::cuda {

/// Throws DeviceUnavailable, with versions and the remedy, where no driver that this runtime can work with is loaded.
void checkDriver();
int deviceCount();
CudaDeviceInfo deviceInfo(int index);
/// "cuda:0"; "cuda-emulated" in the emulation.
std::string deviceName(int index);
/// Such as "CUDA runtime 13.0, driver 13.0".
std::string driverVersions();

}  // namespace kn::cuda
