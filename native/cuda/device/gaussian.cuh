#pragma once
#include "../../core/ops/philox.h"
#include "philox.cuh"
#include "values.cuh"

/// Standard normal values by the Box-Muller transform: the numbers of native/cpu/gaussian.h, up to rounding. The
/// functions are written out, since those of the libraries differ between GPU, emulation and CPU.
namespace kn::cuda {

/// Natural logarithm of normal numbers; relative error below 2e-7 (polynomial of Cephes' logf).
__device__ __forceinline__ float naturalLog(float x) {
  const uint32_t bits = __float_as_uint(x);
  float exponent = static_cast<float>(static_cast<int>(bits >> 23) - 126);
  float m = __uint_as_float((bits & 0x7fffffu) | 0x3f000000u);  // in [1/2, 1)
  if (m < 0.707106781f) {
    exponent -= 1;
    m = m + m - 1;
  } else {
    m -= 1;
  }
  const float square = m * m;
  float y = 7.0376836292e-2f;
  y = fmaf(y, m, -1.1514610310e-1f);
  y = fmaf(y, m, 1.1676998740e-1f);
  y = fmaf(y, m, -1.2420140846e-1f);
  y = fmaf(y, m, 1.4249322787e-1f);
  y = fmaf(y, m, -1.6668057665e-1f);
  y = fmaf(y, m, 2.0000714765e-1f);
  y = fmaf(y, m, -2.4999993993e-1f);
  y = fmaf(y, m, 3.3333331174e-1f);
  y = fmaf(y * m, square, -0.5f * square);
  return fmaf(exponent, 0.69314718f, m + y);
}

/// Sine and cosine for |t| <= pi/4 (polynomials of Cephes' sinf and cosf).
__device__ __forceinline__ float2 sineCosine(float t) {
  const float z = t * t;
  const float sine = fmaf(fmaf(fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f) * z, t, t);
  const float cosine = fmaf(fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f);
  return make_float2(sine, fmaf(cosine * z, z, fmaf(-0.5f, z, 1)));
}

/// Two normal values from two words. The radius takes the upper 24 bits of `a`; the angle is an eighth of a turn from
/// 30 bits of `b`, spread over the circle by the two bits left and the lowest bit of `a`.
__device__ __forceinline__ float2 boxMuller(uint32_t a, uint32_t b) {
  const float uniform = fmaf(static_cast<float>(a >> 8), 0x1p-24f, 0x1p-25f);
  const float radius = sqrtf(fmaxf(-2 * naturalLog(uniform), 0));
  const int angle = static_cast<int>(b << 2) >> 2;
  const float2 point = sineCosine(static_cast<float>(angle) * (0.78539816339744831f * 0x1p-29f));
  const bool swap = b >> 31 != 0;
  const uint32_t x = __float_as_uint(swap ? point.x : point.y) ^ (b << 1 & 0x80000000u);
  const uint32_t y = __float_as_uint(swap ? point.y : point.x) ^ a << 31;
  return make_float2(radius * __uint_as_float(x), radius * __uint_as_float(y));
}

/// The generator of one launch, read from device memory.
class Gaussian {
 public:
  __device__ __forceinline__ explicit Gaussian(const Random& random)
      : key_(make_uint2(word(random, 0), word(random, 1))), step_(word(random, 2)), stream_(random.stream) {}

  /// Values of pixels 4·quad to 4·quad + 3 at index `cell` (split·C + channel).
  __device__ __forceinline__ Pack<4> operator()(int64_t quad, int64_t cell) const {
    const uint4 counter = make_uint4(static_cast<uint32_t>(quad), static_cast<uint32_t>(cell), stream_, step_);
    const uint4 words = philox(counter, key_);
    const float2 first = boxMuller(words.x, words.y), second = boxMuller(words.z, words.w);
    return {{first.x, first.y, second.x, second.y}};
  }

 private:
  static __device__ __forceinline__ uint32_t word(const Random& random, int i) {
    return random.state ? static_cast<uint32_t>(random.state[i]) : 0;
  }
  uint2 key_;
  uint32_t step_, stream_;
};

}  // namespace kn::cuda
