#pragma once
#include <cstdint>
#include <functional>

namespace kn::emulation {

/// Runs body(i) for i in [0, count) on KN_EMULATION_THREADS threads (2 unless set), of which the caller is one.
/// Results must not depend on who does what.
void parallelFor(int64_t count, const std::function<void(int64_t)>& body);

/// The number in an environment variable, or `otherwise`.
int64_t setting(const char* variable, int64_t otherwise);

}  // namespace kn::emulation
