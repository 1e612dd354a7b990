#pragma once
#include <cstdint>
#include <cstring>

#include "../../core/ops/views.h"
#include "gpu.h"

/// Values as they are stored (T: float, __half or __nv_bfloat16) and as they are computed with (float).
namespace kn::cuda {

using Half = __half;
using Brain = __nv_bfloat16;

__device__ __forceinline__ float toFloat(float v) { return v; }
__device__ __forceinline__ float toFloat(Half v) { return __half2float(v); }
__device__ __forceinline__ float toFloat(Brain v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T fromFloat(float v);
template <>
__device__ __forceinline__ float fromFloat<float>(float v) {
  return v;
}
template <>
__device__ __forceinline__ Half fromFloat<Half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ Brain fromFloat<Brain>(float v) {
  return __float2bfloat16_rn(v);
}

/// The widest access of a thread: 16 bytes.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

/// V neighbouring values.
template <int V>
struct Pack {
  float v[V];
  __device__ __forceinline__ float& operator[](int i) { return v[i]; }
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

template <int V>
__device__ __forceinline__ Pack<V> broadcast(float value) {
  Pack<V> pack;
#pragma unroll
  for (int i = 0; i < V; ++i) pack[i] = value;
  return pack;
}

/// The integer of the same size, by which values move in one access (a struct of halves would be taken apart).
template <size_t Bytes>
struct Raw;
template <>
struct Raw<2> {
  using Type = uint16_t;
};
template <>
struct Raw<4> {
  using Type = uint32_t;
};
template <>
struct Raw<8> {
  using Type = uint2;
};
template <>
struct Raw<16> {
  using Type = uint4;
};

template <int V, class T>
__device__ __forceinline__ Pack<V> load(const T* from) {
  using Bits = typename Raw<V * sizeof(T)>::Type;
  const Bits bits = *reinterpret_cast<const Bits*>(from);
  T values[V];
  memcpy(static_cast<void*>(values), &bits, sizeof bits);
  Pack<V> pack;
#pragma unroll
  for (int i = 0; i < V; ++i) pack[i] = toFloat(values[i]);
  return pack;
}

template <int V, class T>
__device__ __forceinline__ void store(T* to, const Pack<V>& pack) {
  using Bits = typename Raw<V * sizeof(T)>::Type;
  T values[V];
#pragma unroll
  for (int i = 0; i < V; ++i) values[i] = fromFloat<T>(pack[i]);
  Bits bits;
  memcpy(&bits, values, sizeof bits);
  *reinterpret_cast<Bits*>(to) = bits;
}

inline bool aligned16(const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

/// Calls `body.template operator()<T>()` for the way values are stored.
template <class Body>
void forType(DType stored, const Body& body) {
  switch (stored) {
    case DType::F16: return body.template operator()<Half>();
    case DType::BF16: return body.template operator()<Brain>();
    default: return body.template operator()<float>();
  }
}

/// Calls `body.template operator()<T, V>()`: V values an access where `count` values in a row and all addresses allow
/// 16 bytes, else one.
template <class Body, class... Data>
void forPacks(DType stored, int64_t count, const Body& body, const Data*... data) {
  const bool addresses = (aligned16(data) && ...);
  forType(stored, [&]<class T>() {
    if (addresses && count % kWide<T> == 0) {
      body.template operator()<T, kWide<T>>();
    } else {
      body.template operator()<T, 1>();
    }
  });
}

inline int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace kn::cuda
