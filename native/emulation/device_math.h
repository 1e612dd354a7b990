#pragma once
/// Functions that CUDA offers in kernels, for g++. Approximate ones go the way of the hardware (2^x and log2), so that
/// their errors are of the same kind.
#include <math.h>
#include <vector_types.h>

#include <cstdint>
#include <cstring>

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t{a} * b) >> 32); }
inline int __mulhi(int a, int b) { return static_cast<int>((int64_t{a} * b) >> 32); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

inline float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __expf(float x) noexcept { return exp2f(x * 0x1.715476p+0f); }
inline float __logf(float x) noexcept { return log2f(x) * 0x1.62e43p-1f; }
inline float normcdff(float x) {
  return static_cast<float>(0.5 * erfc(static_cast<double>(x) * -0.70710678118654752440));
}
inline void sincospif(float x, float* sine, float* cosine) {
  const double angle = static_cast<double>(x) * 3.14159265358979323846;
  *sine = static_cast<float>(sin(angle));
  *cosine = static_cast<float>(cos(angle));
}

// The overloads of CUDA. A NaN loses against a number, as with fminf.
#define KN_MIN_MAX(type)                                    \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
KN_MIN_MAX(int)
KN_MIN_MAX(unsigned)
KN_MIN_MAX(long)
KN_MIN_MAX(unsigned long)
KN_MIN_MAX(long long)
KN_MIN_MAX(unsigned long long)
#undef KN_MIN_MAX
#define KN_MIN_MAX(signed_type, type)                                             \
  inline type min(signed_type a, type b) { return min(static_cast<type>(a), b); } \
  inline type min(type a, signed_type b) { return min(a, static_cast<type>(b)); } \
  inline type max(signed_type a, type b) { return max(static_cast<type>(a), b); } \
  inline type max(type a, signed_type b) { return max(a, static_cast<type>(b)); }
KN_MIN_MAX(int, unsigned)
KN_MIN_MAX(long, unsigned long)
KN_MIN_MAX(long long, unsigned long long)
#undef KN_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
