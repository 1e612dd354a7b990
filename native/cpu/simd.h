#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace kn::cpu {

/// Eight lanes, by the compiler's vector extension: AVX2 on x86, pairs of NEON registers on ARM.
typedef float Float8 __attribute__((vector_size(32)));
typedef int32_t Int8x32 __attribute__((vector_size(32)));
typedef uint32_t UInt8x32 __attribute__((vector_size(32)));
typedef double Double4 __attribute__((vector_size(32)));

constexpr int kLanes = 8;

// Not Float8{} + value, which is an addition: it turns -0 into 0.
inline Float8 broadcast(float v) { return Float8{v, v, v, v, v, v, v, v}; }

inline Float8 loadFull(const float* p) {
  Float8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void storeFull(float* p, Float8 v) { std::memcpy(p, &v, sizeof v); }

/// `Full`: all eight lanes are in memory; else the first `valid`, and the others read as zero.
template <bool Full>
inline Float8 load(const float* p, int valid) {
  if constexpr (Full) return loadFull(p);
  Float8 v = {};
  for (int i = 0; i < valid; ++i) v[i] = p[i];
  return v;
}
template <bool Full>
inline void store(float* p, Float8 v, int valid) {
  if constexpr (Full) {
    storeFull(p, v);
  } else {
    for (int i = 0; i < valid; ++i) p[i] = v[i];
  }
}

inline Float8 max(Float8 a, Float8 b) { return a > b ? a : b; }
/// A NaN stays one, so that a broken network shows it.
inline Float8 relu(Float8 v) { return v < 0 ? Float8{} : v; }
inline Float8 sqrt8(Float8 v) {
  for (int i = 0; i < kLanes; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

/// Eight double sums, one a lane.
struct Double8 {
  Double4 low = {}, high = {};
  double operator[](int lane) const { return lane < 4 ? low[lane] : high[lane - 4]; }
  void add(Float8 v) {
    low += Double4{v[0], v[1], v[2], v[3]};
    high += Double4{v[4], v[5], v[6], v[7]};
  }
  void operator+=(const Double8& other) {
    low += other.low;
    high += other.high;
  }
};

}  // namespace kn::cpu
