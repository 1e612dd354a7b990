#pragma once
#include "grid.cuh"

/// Products of small matrices in float32, in tiles: too small, and too many at a time, for a library.
namespace kn::cuda {

/// Elements (row, depth) at row / repeat·rowStep + depth·depthStep; one of the steps is 1.
struct Matrix {
  const float* values;
  int64_t rows, rowStep, depthStep;
  int repeat = 1;  ///< rows that are the same
};

constexpr int kSide = 16;        ///< of the tile of results of a block, one for each of its threads
constexpr int kDepth = 64;       ///< at a time
constexpr int kDepthGroups = 4;  ///< of threads, which share the depth
constexpr int kPitch = kSide + 1;

/// A thread's part of kSide rows and kDepth columns; zeros outside. Neighbouring threads read neighbouring addresses.
struct Slice {
  int row[4], depth[4];

  __device__ __forceinline__ explicit Slice(const Matrix& m) {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      row[i] = m.depthStep == 1 ? thread / kDepth + i * 4 : thread % kSide;
      depth[i] = m.depthStep == 1 ? thread % kDepth : thread / kSide + i * kSide;
    }
  }
  __device__ __forceinline__ Pack<4> read(const Matrix& m, int64_t firstRow, int64_t firstDepth, int64_t depths) const {
    Pack<4> values;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t r = firstRow + row[i], d = firstDepth + depth[i];
      values[i] = r < m.rows && d < depths ? m.values[r / m.repeat * m.rowStep + d * m.depthStep] : 0;
    }
    return values;
  }
  __device__ __forceinline__ void write(float* tile, const Pack<4>& values) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) tile[depth[i] * kPitch + row[i]] = values[i];
  }
};

/// Σ a(row, d)·b(column, d): thread i gets the result of the tile's row i / kSide and column i % kSide. All threads of
/// the block must call it. Sums of kDepth / kDepthGroups terms are summed in turn, in a fixed order.
__device__ __forceinline__ float multiplyTile(const Matrix& a, int64_t firstRow, const Matrix& b, int64_t firstColumn,
                                              int64_t depths) {
  KN_SHARED(float, left, [kDepth * kPitch]);
  KN_SHARED(float, right, [kDepth * kPitch]);
  KN_SHARED(float, partial, [kDepthGroups * kSide * kSide]);
  const int thread = static_cast<int>(threadIdx.x), group = thread / 64;
  const int y = thread % 64 / 8, x = thread % 8;
  const Slice ofA(a), ofB(b);
  Pack<4> nextA = ofA.read(a, firstRow, 0, depths), nextB = ofB.read(b, firstColumn, 0, depths);
  float total[2][2] = {};
  for (int64_t begin = 0; begin < depths; begin += kDepth) {
    __syncthreads();  // whoever still reads the last tiles
    ofA.write(left, nextA);
    ofB.write(right, nextB);
    __syncthreads();
    nextA = ofA.read(a, firstRow, begin + kDepth, depths);
    nextB = ofB.read(b, firstColumn, begin + kDepth, depths);
    float sum[2][2] = {};
#pragma unroll
    for (int i = 0; i < kDepth / kDepthGroups; ++i) {
      const int at = (group * (kDepth / kDepthGroups) + i) * kPitch;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int c = 0; c < 2; ++c) sum[r][c] = fmaf(left[at + y + 8 * r], right[at + x + 8 * c], sum[r][c]);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int c = 0; c < 2; ++c) total[r][c] += sum[r][c];
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int c = 0; c < 2; ++c) partial[(group * kSide + y + 8 * r) * kSide + x + 8 * c] = total[r][c];
  }
  __syncthreads();
  float result = 0;
#pragma unroll
  for (int i = 0; i < kDepthGroups; ++i) result += partial[i * kSide * kSide + thread];
  return result;
}

inline unsigned tilesOf(int64_t rows, int64_t columns) {
  return static_cast<unsigned>(ceilDivide(rows, kSide) * ceilDivide(columns, kSide));
}

/// The place of a thread's result; neighbouring blocks share columns.
struct TilePlace {
  int64_t firstRow, firstColumn, row, column;

  __device__ __forceinline__ TilePlace(unsigned tile, int64_t rows) {
    const unsigned rowTiles = static_cast<unsigned>((rows + kSide - 1) / kSide);
    firstRow = static_cast<int64_t>(tile % rowTiles) * kSide;
    firstColumn = static_cast<int64_t>(tile / rowTiles) * kSide;
    row = firstRow + static_cast<int>(threadIdx.x) / kSide;
    column = firstColumn + static_cast<int>(threadIdx.x) % kSide;
  }
};

/// out[row, column] = Σ a[row, d]·b[column, d], all row by row.
__device__ __forceinline__ void multiplyRows(unsigned tile, const float* a, int64_t rows, const float* b,
                                             int64_t columns, int64_t depths, float* out) {
  const TilePlace place(tile, rows);
  const float result =
      multiplyTile({a, rows, depths, 1}, place.firstRow, {b, columns, depths, 1}, place.firstColumn, depths);
  if (place.row < rows && place.column < columns) out[place.row * columns + place.column] = result;
}

}  // namespace kn::cuda
