#pragma once
#include <string>

#include "../cuda/runtime/cuda_device.h"

namespace kn::addon {

/// Opens the CUDA device's shared library, and before it the libraries it needs, wherever they lie. Throws
/// DeviceUnavailable with what was looked for, where, what was found instead, and the remedy.
const CudaEntry& openCudaLibrary(const std::string& path);

/// Opens one of NVIDIA's libraries, by its path, or by its name where the loader or this finds it. Throws as the above.
void* openNvidiaLibrary(const std::string& library, const std::string& wantedBy);

}  // namespace kn::addon
