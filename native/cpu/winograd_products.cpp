#include "winograd_products.h"

#include <dnnl.hpp>

namespace kn::cpu {
namespace {

#ifdef __AVX2__
#define KN_AVX512 __attribute__((target("avx512f")))

typedef float Float16 __attribute__((vector_size(64)));
#endif

/// m[kRows][Width vectors] = v[kRows][in]·u[in][Width vectors]
template <int Width>
inline void multiplyBlock(const float* v, const float* u, int64_t in, float* m, int64_t out) {
  Float8 sums[kRows][Width] = {};
  for (int64_t c = 0; c < in; ++c, u += Width * kLanes) {
    Float8 columns[Width];
    for (int j = 0; j < Width; ++j) columns[j] = loadFull(u + j * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const Float8 factor = broadcast(v[i * in + c]);
      for (int j = 0; j < Width; ++j) sums[i][j] += factor * columns[j];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < Width; ++j) storeFull(m + i * out + j * kLanes, sums[i][j]);
  }
}

/// sums[4][Width vectors] += v[tiles][4]ᵀ·d[tiles][Width vectors]
template <int Width>
inline void accumulateBlock(const float* v, int64_t in, const float* d, int64_t out, int64_t tiles, float* sums) {
  Float8 block[4][Width];
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < Width; ++j) block[i][j] = loadFull(sums + i * out + j * kLanes);
  }
  for (int64_t t = 0; t < tiles; ++t, v += in, d += out) {
    Float8 columns[Width];
    for (int j = 0; j < Width; ++j) columns[j] = loadFull(d + j * kLanes);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Float8 factor = broadcast(v[i]);
      for (int j = 0; j < Width; ++j) block[i][j] += factor * columns[j];
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < Width; ++j) storeFull(sums + i * out + j * kLanes, block[i][j]);
  }
}

#ifdef KN_AVX512
/// As multiplyBlock, for Rows tiles and Width blocks of sixteen channels whose filters are `step` floats apart.
template <int Rows, int Width>
KN_AVX512 void multiplyWide(const float* v, const float* u, int64_t step, int64_t in, float* m, int64_t out) {
  Float16 sums[Rows][Width] = {};
  for (int64_t c = 0; c < in; ++c, u += 16) {
    Float16 columns[Width];
    for (int j = 0; j < Width; ++j) std::memcpy(&columns[j], u + j * step, sizeof(Float16));
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i) {
      for (int j = 0; j < Width; ++j) sums[i][j] += v[i * in + c] * columns[j];
    }
  }
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Width; ++j) std::memcpy(m + i * out + j * 16, &sums[i][j], sizeof(Float16));
  }
}

/// The columns of multiplyTiles that Width blocks of filters give.
template <int Width>
void multiplyRows(const float* v, const float* u, int64_t step, int64_t in, int64_t tiles, float* m, int64_t out) {
  for (int64_t row = 0; row < tiles; row += 2 * kRows) {
    if (tiles - row > kRows) {
      multiplyWide<2 * kRows, Width>(v + row * in, u, step, in, m + row * out, out);
    } else {
      multiplyWide<kRows, Width>(v + row * in, u, step, in, m + row * out, out);
    }
  }
}

/// As accumulateBlock, for eight rows and Width vectors of sixteen channels.
template <int Width>
KN_AVX512 void accumulateWide(const float* v, int64_t in, const float* d, int64_t out, int64_t tiles, float* sums) {
  Float16 block[8][Width];
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < Width; ++j) std::memcpy(&block[i][j], sums + i * out + j * 16, sizeof(Float16));
  }
  for (int64_t t = 0; t < tiles; ++t, v += in, d += out) {
    Float16 columns[Width];
    for (int j = 0; j < Width; ++j) std::memcpy(&columns[j], d + j * 16, sizeof(Float16));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < Width; ++j) block[i][j] += v[i] * columns[j];
    }
  }
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < Width; ++j) std::memcpy(sums + i * out + j * 16, &block[i][j], sizeof(Float16));
  }
}
#endif

}  // namespace

bool wideProducts() {
#ifdef KN_AVX512
  constexpr auto core = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  static const bool wide = (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & core) == core;
  return wide;
#else
  return false;
#endif
}

void multiplyTiles(const float* v, const float* u, const Packed& packed, int64_t tiles, float* m) {
  const int64_t in = packed.in, out = packed.vectors * kLanes;
  for (int64_t first = 0, width; first < packed.vectors; first += width) {
    const float* filters = u + packed.offset(0, first / kColumns);
    const int64_t left = packed.vectors - first;
    width = std::min(left, kColumns);
#ifdef KN_AVX512
    if (left >= kColumns && wideProducts()) {
      const int64_t step = packed.offset(0, 1);
      float* to = m + first * kLanes;
      if (left >= 2 * kColumns) {
        width = 2 * kColumns;
        multiplyRows<2>(v, filters, step, in, tiles, to, out);
      } else {
        multiplyRows<1>(v, filters, step, in, tiles, to, out);
      }
      continue;
    }
#endif
    for (int64_t row = 0; row < tiles; row += kRows) {
      const float* from = v + row * in;
      float* to = m + row * out + first * kLanes;
      width == kColumns ? multiplyBlock<kColumns>(from, filters, in, to, out)
                        : multiplyBlock<1>(from, filters, in, to, out);
    }
  }
}

void accumulateTiles(const float* v, int64_t in, const float* d, int64_t out, int64_t tiles, float* sums) {
  for (int64_t k = 0; k < out;) {
    const int64_t left = out - k;
#ifdef KN_AVX512
    if (left >= 16 && wideProducts()) {
      for (int64_t c = 0; c < in; c += 8) {
        float* to = sums + c * out + k;
        left >= 32 ? accumulateWide<2>(v + c, in, d + k, out, tiles, to)
                   : accumulateWide<1>(v + c, in, d + k, out, tiles, to);
      }
      k += left >= 32 ? 32 : 16;
      continue;
    }
#endif
    for (int64_t c = 0; c < in; c += 4) {
      float* to = sums + c * out + k;
      left >= kColumns* kLanes ? accumulateBlock<kColumns>(v + c, in, d + k, out, tiles, to)
                               : accumulateBlock<1>(v + c, in, d + k, out, tiles, to);
    }
    k += std::min(left, kColumns * kLanes);
  }
}

}  // namespace kn::cpu
