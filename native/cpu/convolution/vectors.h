#pragma once
#include "../simd.h"

/// Vectors of eight or sixteen channels, for templates that are compiled for each width by a file of its own, whose
/// instructions are chosen in CMakeLists.txt. All names are local to those files: no other code may get a copy of a
/// function from them.
namespace kn::cpu::convolution {
namespace {

/// Sixteen channels, or eight of two neighbouring pixels.
typedef float Float16 __attribute__((vector_size(64)));

template <class V>
constexpr int64_t kWidth = sizeof(V) / sizeof(float);
template <class V>
constexpr bool kSixteen = kWidth<V> == 2 * kLanes;

template <class V>
inline V loadVector(const float* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class V>
inline void storeVector(float* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

/// Sixteen channels that lie in two groups, `group` floats apart; or eight.
inline void loadHalves(const float* from, int64_t, Float8& value) { value = loadVector<Float8>(from); }
inline void storeHalves(float* to, int64_t, Float8 value) { storeVector(to, value); }
#ifdef __AVX512F__
inline void loadHalves(const float* from, int64_t group, Float16& value) {
  value = __builtin_shufflevector(loadVector<Float8>(from), loadVector<Float8>(from + group), 0, 1, 2, 3, 4, 5, 6, 7, 8,
                                  9, 10, 11, 12, 13, 14, 15);
}
inline void storeHalves(float* to, int64_t group, Float16 value) {
  storeVector(to, __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7));
  storeVector(to + group, __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

template <class V>
inline V reluVector(V value) {
  return value < 0 ? V{} : value;
}

/// Calls body for the vectors of `channels` channels: body(V{}, first channel).
template <class V, class Body>
inline void eachVector(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kWidth<V> <= channels; c += kWidth<V>) body(V{}, c);
  if constexpr (kSixteen<V>) {
    if (c < channels) body(Float8{}, c);
  }
}

}  // namespace
}  // namespace kn::cpu::convolution
