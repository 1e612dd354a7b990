#pragma once
#include <string>

#include "../cuda/runtime/cuda_device.h"

namespace kn::addon {

/// Opens the CUDA device's shared library, and before it the libraries it needs, wherever they lie. Throws
/// DeviceUnavailable with what was looked for, where, what was found instead, and the remedy.
const CudaEntry& openCudaLibrary(const std::string& path);

}  // namespace kn::addon
