#pragma once
#include <algorithm>
#include <cstdint>

#include "../../core/ops/conv2d.h"
#include "../simd.h"

/// The parts of convolutions that take time: what moves values between images and matrices, for a chunk of tiles or of
/// pixels, and the matrices' products. They exist twice, for vectors of eight and of sixteen channels; the results are
/// the same bit by bit.
namespace kn::cpu::convolution {

constexpr int64_t kPoints = 16;  ///< values of a transformed tile
constexpr int64_t kRows = 6;     ///< rows of a multiplication's register block: matrices have a multiple of them
constexpr int64_t kColumns = 2;  ///< vectors of eight channels of a block of packed filters

/// The tiles of a tensor: tile (y, x) of the output covers pixels 2y, 2y + 1 and the input from 2y - top.
struct Tiles {
  int64_t rows, columns, count, top, left;

  Tiles(int64_t samples, int64_t height, int64_t width, int64_t top, int64_t left)
      : rows((height + 1) / 2), columns((width + 1) / 2), count(samples * rows * columns), top(top), left(left) {}
};

/// The patches of pixels that a filter of this height and width sees, [taps, channels].
struct Patches {
  int64_t height, width;
  op::ConvShape shape;

  int64_t taps() const { return height * width; }
};
constexpr Patches kPixel{1, 1, {}};  ///< of a pixel itself

/// Tiles or output pixels [first, last) of a tensor. Their matrices have `length` rows, the first of which belongs to
/// `first`.
struct Chunk {
  int64_t first, last, length;

  int64_t rows() const { return last - first; }
  /// Floats from one point's matrix to the next. A cache line more than the matrix: else the 16 streams that a
  /// transform writes would fall into few sets of the cache.
  int64_t step(int64_t channels) const { return length * channels + 16; }
};

/// Where u[point][block of columns][in][vector][lane] has its values: columns in blocks of kColumns vectors, the last
/// of which may be narrower.
struct Packed {
  int64_t in, vectors;

  int64_t width(int64_t block) const { return std::min(kColumns, vectors - block * kColumns); }
  /// Where a vector of a point's matrix begins, and floats from one of its rows to the next.
  int64_t column(int64_t vector) const { return offset(0, vector / kColumns) + vector % kColumns * kLanes; }
  int64_t step(int64_t vector) const { return width(vector / kColumns) * kLanes; }
  /// A cache line more than a point's matrix from one to the next, as in a chunk.
  int64_t offset(int64_t point, int64_t block) const {
    return point * (vectors * in * kLanes + 16) + block * kColumns * in * kLanes;
  }
  int64_t count() const { return offset(kPoints, 0); }
};

/// What is done to results before they are written: bias [out], or null, and ReLU.
struct Epilogue {
  const float* bias;
  bool relu;
};

struct Kernels {
  /// v[point][tile][channel] = Bᵀ·x·B of each tile, zero outside of the image.
  void (*gatherInput)(const op::Act& x, const Tiles&, const Chunk&, float* v);
  /// d[point][tile][channel] = A·dy·Aᵀ: the transpose of scatterOutput.
  void (*gatherGradient)(const op::Act& dy, const Tiles&, const Chunk&, float* d);
  /// y = Aᵀ·m·A of the products m[point][tile][channel], behind the epilogue.
  void (*scatterOutput)(const float* m, const Tiles&, const Chunk&, const Epilogue&, const op::Act& y);

  /// v[pixel of y][tap][channel] = what each tap sees of x, zero outside of the image.
  void (*gatherPatches)(const op::Act& x, const Patches&, const op::Act& y, const Chunk&, float* v);
  /// v[pixel of y][eight channels][tap][channel]: the same in the order in which filters lie.
  void (*gatherBlocks)(const op::Act& x, const Patches&, const op::Act& y, const Chunk&, float* v);
  /// dx += d[pixel of y][tap][channel]: the transpose of gatherPatches.
  void (*addPatches)(const float* d, const Patches&, const op::Act& y, const Chunk&, const op::Act& dx);
  /// y = m[pixel][channel], behind the epilogue.
  void (*scatterPixels)(const float* m, const Chunk&, const Epilogue&, const op::Act& y);

  /// m[rows][out] = v[rows][in]·u[in][out], `rows` rounded up to a multiple of kRows.
  void (*multiply)(const float* v, const float* u, const Packed&, int64_t rows, float* m);
  /// As multiply, by columns that haven't been packed: u[vector][in][lane], of `vectors` vectors of m's `out` columns.
  void (*multiplyInPlace)(const float* v, const float* u, int64_t in, int64_t vectors, int64_t rows, float* m,
                          int64_t out);
  /// dw[vector][in][lane] = v[rows][in]ᵀ·d[rows][vector][lane], where d has `out` columns.
  void (*gradientInPlace)(const float* v, int64_t in, const float* d, int64_t vectors, int64_t out, int64_t rows,
                          float* dw);
  /// sums[in][width] += v[rows][in]ᵀ·d[rows][width], where d and the sums have `out` columns; `in` and `width` are
  /// multiples of eight.
  void (*accumulate)(const float* v, int64_t in, const float* d, int64_t width, int64_t out, int64_t rows, float* sums);
};

extern const Kernels kNarrow;
#ifdef KN_WIDE
extern const Kernels kWide;  ///< for processors with AVX-512
#endif

}  // namespace kn::cpu::convolution
