#pragma once
/// What turns kernels into C++ for g++. native/cuda/device/gpu.h includes it after the toolkit's own headers.
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "../cuda/runtime/check.h"
#include "block.h"
#include "device_math.h"
#include "launch.h"

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static_assert(false, "shared memory is declared by KN_SHARED");
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

/// Filled with NaN at the start of each block, which real shared memory is not.
#define KN_SHARED(type, name, size)                       \
  using name##_variable = type size;                      \
  static const char name##_key = 0;                       \
  name##_variable& name = *static_cast<name##_variable*>( \
      ::kn::emulation::BlockRunner::current().shared(&name##_key, sizeof(name##_variable)))

constexpr int warpSize = 32;

#define KN_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(KN_PLACE) { ::kn::emulation::BlockRunner::current().barrier({file, line}); }

namespace kn::emulation {

inline const uint64_t* exchange(unsigned mask, uint64_t value, bool ordered, Place place) {
  BlockRunner& runner = BlockRunner::current();
  if (mask != ~0u) runner.fail("a warp operation without the full mask", place);
  return runner.exchange(value, ordered, place);
}

/// `source`, unless it lies outside the lane's own part of the warp. As on a GPU, __shfl_xor_sync reaches lower parts.
inline int within(int lane, int source, int width) { return (source ^ lane) & ~(width - 1) ? lane : source; }
inline int notAbove(int lane, int source, int width) { return source > (lane | (width - 1)) ? lane : source; }

template <class T>
T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const uint64_t* all = exchange(mask, bits, false, place);
  std::memcpy(&value, &all[source], sizeof value);
  return value;
}

inline int lane() { return BlockRunner::current().lane(); }

template <class T>
const T* aligned(const T* pointer, Place place) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignof(T) != 0) BlockRunner::current().fail("a misaligned access", place);
  return pointer;
}

}  // namespace kn::emulation

inline void __syncwarp(unsigned mask = ~0u, KN_PLACE) { ::kn::emulation::exchange(mask, 0, true, {file, line}); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, KN_PLACE) {
  const int lane = ::kn::emulation::lane();
  return ::kn::emulation::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, KN_PLACE) {
  const int lane = ::kn::emulation::lane();
  return ::kn::emulation::shuffle(mask, value, ::kn::emulation::notAbove(lane, lane ^ bits, width), {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, KN_PLACE) {
  const int lane = ::kn::emulation::lane(), source = lane + static_cast<int>(distance);
  return ::kn::emulation::shuffle(mask, value, ::kn::emulation::within(lane, source, width), {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, KN_PLACE) {
  const int lane = ::kn::emulation::lane(), source = lane - static_cast<int>(distance);
  return ::kn::emulation::shuffle(mask, value, ::kn::emulation::within(lane, source, width), {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, KN_PLACE) {
  const uint64_t* all = ::kn::emulation::exchange(mask, predicate != 0, false, {file, line});
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<unsigned>(all[i]) << i;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate, KN_PLACE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, KN_PLACE) {
  return __ballot_sync(mask, predicate, file, line) == ~0u;
}

// Cache hints. The alignment is checked, since a GPU faults where x86 does not.
template <class T>
T __ldg(const T* pointer, KN_PLACE) {
  return *::kn::emulation::aligned(pointer, {file, line});
}
template <class T>
T __ldcs(const T* pointer, KN_PLACE) {
  return *::kn::emulation::aligned(pointer, {file, line});
}
template <class T>
T __ldcg(const T* pointer, KN_PLACE) {
  return *::kn::emulation::aligned(pointer, {file, line});
}
template <class T>
void __stcs(T* pointer, T value, KN_PLACE) {
  ::kn::emulation::aligned(pointer, {file, line});
  *pointer = value;
}
template <class T>
void __stcg(T* pointer, T value, KN_PLACE) {
  ::kn::emulation::aligned(pointer, {file, line});
  *pointer = value;
}

#undef KN_PLACE

#if defined(__SANITIZE_THREAD__)
/// It knows no fences, and g++ warns of each. Beside one stands an atomicAdd, which orders what it watches.
inline void __threadfence() {}
#else
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

/// Integers only: the order of float additions would change results.
template <class T>
std::enable_if_t<std::is_integral_v<T>, T> atomicAdd(T* pointer, std::type_identity_t<T> value) {
  return __atomic_fetch_add(pointer, value, __ATOMIC_SEQ_CST);
}

namespace kn::cuda {

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A&&... arguments) {
  auto call = std::make_shared<emulation::KernelCall<P...>>(kernel, std::forward<A>(arguments)...);
  call->kernel = reinterpret_cast<const void*>(kernel);
  call->grid = grid;
  call->block = block;
  call->shared = shared;
  check(emulation::enqueueLaunch(std::move(call), stream), "kernel launch");
}

}  // namespace kn::cuda
