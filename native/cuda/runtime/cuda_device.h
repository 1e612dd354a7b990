#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../../core/runtime/device.h"

namespace kn {

/// How activations are stored and multiplied. Weights, statistics and sums are float32 in all of them.
enum class Precision : uint8_t {
  Float32,  ///< products of full precision
  TF32,     ///< float32 storage; products in tensor cores, rounded to 10 bits of mantissa
  Float16,
  BFloat16,
};

struct CudaOptions {
  int index = 0;
  size_t memoryLimit = 0;  ///< bytes; 0 for no limit
  Precision precision = Precision::Float32;
  bool deterministic = true;  ///< only convolution algorithms that give the same bits at each run
  bool benchmark = false;     ///< time the algorithms of a convolution at its first use and keep the fastest
};

struct CudaDeviceInfo {
  std::string name;        ///< such as "NVIDIA H100 PCIe"
  std::string capability;  ///< such as "9.0"
  size_t memory = 0;       ///< bytes
};

/// What the shared library of the CUDA device hands to the addon that opens it.
struct CudaEntry {
  /// Fingerprint of the core's headers: both sides must be built from the same ones.
  const char* core;
  /// Throws DeviceUnavailable without a driver.
  std::vector<CudaDeviceInfo> (*devices)();
  /// Throws DeviceUnavailable where there is no such device or a library is missing or too old.
  std::unique_ptr<Device> (*open)(const CudaOptions& options);
};
constexpr const char* kCudaEntry = "kalman_norm_cuda_entry";

}  // namespace kn
