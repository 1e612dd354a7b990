#pragma once
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <array>

#include "../core/ops/philox.h"
#include "simd.h"

/// Standard normal values, eight channels at a time: Philox4x32-10 and the Box-Muller transform. The value at (split,
/// channel, pixel) depends on nothing else but the generator's state and the stream, whatever the layout:
/// counter = {pixel / 4, split·C + channel, stream, step}; the four words give the values of four pixels.
namespace kn::cpu {

/// High and low words of a·m in each lane.
inline void multiply(UInt8x32 a, uint32_t m, UInt8x32& high, UInt8x32& low) {
#ifdef __AVX2__
  // The compiler doesn't find the 32 x 32 to 64 bit products of even and odd lanes by itself.
  const __m256i x = reinterpret_cast<__m256i>(a), factor = _mm256_set1_epi32(static_cast<int>(m));
  const __m256i even = _mm256_mul_epu32(x, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), factor);
  high = reinterpret_cast<UInt8x32>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
  low = reinterpret_cast<UInt8x32>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA));
#else
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t product = uint64_t{a[i]} * m;
    high[i] = static_cast<uint32_t>(product >> 32);
    low[i] = static_cast<uint32_t>(product);
  }
#endif
}

struct Words8 {
  UInt8x32 w[4];
};

inline Words8 philox8(UInt8x32 c0, UInt8x32 c1, uint32_t stream, uint32_t step, uint32_t k0, uint32_t k1) {
  UInt8x32 c2 = UInt8x32{} + stream, c3 = UInt8x32{} + step;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    UInt8x32 highA, lowA, highB, lowB;
    multiply(c0, 0xD2511F53u, highA, lowA);
    multiply(c2, 0xCD9E8D57u, highB, lowB);
    c0 = highB ^ c1 ^ k0;
    c2 = highA ^ c3 ^ k1;
    c1 = lowB;
    c3 = lowA;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

/// Natural logarithm of normal numbers; relative error below 2e-7 (polynomial of Cephes' logf).
inline Float8 log8(Float8 x) {
  const UInt8x32 bits = reinterpret_cast<UInt8x32>(x);
  Float8 exponent = __builtin_convertvector(reinterpret_cast<Int8x32>(bits >> 23) - 126, Float8);
  Float8 m = reinterpret_cast<Float8>((bits & 0x7fffffu) | 0x3f000000u);  // in [1/2, 1)
  const auto small = m < 0.707106781f;
  exponent = small ? exponent - 1 : exponent;
  m = small ? m + m - 1 : m - 1;
  const Float8 square = m * m;
  Float8 y = broadcast(7.0376836292e-2f);
  for (float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                  2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f}) {
    y = y * m + c;
  }
  y = y * m * square - 0.5f * square;
  return exponent * 0.69314718f + (m + y);
}

/// Sine and cosine for |t| <= pi/4 (polynomials of Cephes' sinf and cosf).
inline void sinCos8(Float8 t, Float8& sine, Float8& cosine) {
  const Float8 z = t * t;
  sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * t + t;
  cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1;
}

/// Two normal values a lane from two words. The radius takes the upper 24 bits of `a`; the angle is an eighth of a turn
/// from 30 bits of `b`, spread over the circle by the two bits left and the lowest bit of `a`.
inline void boxMuller(UInt8x32 a, UInt8x32 b, Float8& first, Float8& second) {
  const Float8 uniform = __builtin_convertvector(reinterpret_cast<Int8x32>(a >> 8), Float8) * 0x1p-24f + 0x1p-25f;
  const Float8 radius = sqrt8(max(-2 * log8(uniform), Float8{}));
  const Int8x32 signedAngle = reinterpret_cast<Int8x32>(b << 2) >> 2;
  Float8 sine, cosine;
  sinCos8(__builtin_convertvector(signedAngle, Float8) * (0.78539816339744831f * 0x1p-29f), sine, cosine);
  const auto swap = reinterpret_cast<Int8x32>(b) < 0;
  const Float8 x = swap ? sine : cosine, y = swap ? cosine : sine;
  const UInt8x32 signX = (b << 1) & 0x80000000u, signY = a << 31;
  first = radius * reinterpret_cast<Float8>(reinterpret_cast<UInt8x32>(x) ^ signX);
  second = radius * reinterpret_cast<Float8>(reinterpret_cast<UInt8x32>(y) ^ signY);
}

/// The generator of one launch, read from device memory.
class Gaussian {
 public:
  explicit Gaussian(const Random& random)
      : k0_(word(random, 0)), k1_(word(random, 1)), step_(word(random, 2)), stream_(random.stream) {}

  /// Values of pixels 4·quad to 4·quad + 3 for the eight channels from index `cell` (split·C + channel).
  std::array<Float8, 4> operator()(int64_t quad, int64_t cell) const {
    const UInt8x32 lanes = UInt8x32{0, 1, 2, 3, 4, 5, 6, 7} + static_cast<uint32_t>(cell);
    const Words8 words = philox8(UInt8x32{} + static_cast<uint32_t>(quad), lanes, stream_, step_, k0_, k1_);
    std::array<Float8, 4> z;
    boxMuller(words.w[0], words.w[1], z[0], z[1]);
    boxMuller(words.w[2], words.w[3], z[2], z[3]);
    return z;
  }

 private:
  static uint32_t word(const Random& random, int i) {
    return random.state ? static_cast<uint32_t>(random.state[i]) : 0;
  }
  uint32_t k0_, k1_, step_, stream_;
};

}  // namespace kn::cpu
