#pragma once
#include <cstddef>

/// What the emulation tells the sanitizers: fibers, poisoned memory, and which code is bookkeeping, not the kernel's.

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define KN_ASAN(...) __VA_ARGS__
#else
#define KN_ASAN(...)
#endif

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define KN_TSAN(...) __VA_ARGS__
#define KN_UNWATCHED __attribute__((no_sanitize("thread")))
#else
#define KN_TSAN(...)
#define KN_UNWATCHED
#endif

namespace kn::emulation {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

/// Marks memory that nobody may touch, where AddressSanitizer watches.
inline void forbid([[maybe_unused]] const void* from, [[maybe_unused]] size_t bytes) {
  KN_ASAN(__asan_poison_memory_region(from, bytes);)
}
inline void allow([[maybe_unused]] const void* from, [[maybe_unused]] size_t bytes) {
  KN_ASAN(__asan_unpoison_memory_region(from, bytes);)
}

}  // namespace kn::emulation
