#pragma once
#include <memory>

#include "../core/runtime/device.h"

namespace kn {

struct CpuOptions {
  int threads = 0;         ///< of the OpenMP team; 0 for one a core this process may use
  size_t memoryLimit = 0;  ///< bytes; 0 for no limit
};

/// A device of this machine's cores. Throws InvalidArgument for a negative number of threads.
std::unique_ptr<Device> createCpuDevice(const CpuOptions& options);

}  // namespace kn
