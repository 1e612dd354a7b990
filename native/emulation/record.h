#pragma once
#include <functional>

namespace kn::emulation {

struct Launch;

/// Runs `run`; where KN_EMULATION_RECORD names a folder, also writes down the launch and the device memory before and
/// after, for tools/cuda-ptx.
void recordLaunch(const Launch& launch, const std::function<void()>& run);
/// Runs a stream's work: alone where launches are recorded, so that memory does not change in the middle.
void exclusively(const std::function<void()>& work);

}  // namespace kn::emulation
