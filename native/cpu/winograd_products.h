#pragma once
#include <algorithm>
#include <cstdint>

#include "simd.h"

/// The products of Winograd's convolutions: one point's matrices of many tiles. With AVX-512, where the processor has
/// it, sixteen channels at a time; the results are the same bit by bit.
namespace kn::cpu {

constexpr int64_t kRows = 6;     ///< tiles of the multiplication's register block: matrices have a multiple of them
constexpr int64_t kColumns = 2;  ///< vectors of eight channels of a block of transformed filters

/// Where u[point][block of columns][in][vector][lane] has its values: columns in blocks of kColumns vectors, the last
/// of which may be narrower.
struct Packed {
  static constexpr int64_t kPoints = 16;  ///< values of a transformed tile

  int64_t in, vectors;
  int64_t width(int64_t block) const { return std::min(kColumns, vectors - block * kColumns); }
  /// A cache line more than a point's matrix from one to the next: else the 16 streams that a transform writes would
  /// fall into few sets of the cache.
  int64_t offset(int64_t point, int64_t block) const {
    return point * (vectors * in * kLanes + 16) + block * kColumns * in * kLanes;
  }
  int64_t count() const { return offset(kPoints, 0); }
};

/// Whether they are computed for sixteen channels at a time, by AVX-512; the results are the same bit by bit. As oneDNN
/// has it, ONEDNN_MAX_CPU_ISA in the environment says what may be used of a processor.
bool wideProducts();

/// m[tiles][out] = v[tiles][in]·u[in][out] of one point, `tiles` rounded up to a multiple of kRows.
void multiplyTiles(const float* v, const float* u, const Packed& packed, int64_t tiles, float* m);

/// sums[in][out] += v[tiles][in]ᵀ·d[tiles][out]; `in` and `out` are multiples of eight.
void accumulateTiles(const float* v, int64_t in, const float* d, int64_t out, int64_t tiles, float* sums);

}  // namespace kn::cpu
