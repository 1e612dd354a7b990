#pragma once
#include "kernels.h"
#include "vectors.h"

/// Products of matrices, in blocks that stay in registers.
namespace kn::cpu::convolution {
namespace {

/// m[Rows][Width vectors] = v[Rows][in]·u[in][Width vectors]. From one row of u to the next it is `row` floats, and
/// load(row, j) is the j-th vector of a row.
template <class V, int Rows, int Width, class Load>
inline void multiplyBlock(const float* v, const float* u, int64_t row, const Load& load, int64_t in, float* m,
                          int64_t out) {
  // Unrolled, all of them: else the sums take a detour through memory.
  V sums[Rows][Width];
#pragma GCC unroll 12
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) sums[i][j] = V{};
  }
  for (int64_t c = 0; c < in; ++c, u += row) {
    V columns[Width];
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) columns[j] = load(u, j);
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < Width; ++j) sums[i][j] += v[i * in + c] * columns[j];
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) storeVector(m + i * out + j * kWidth<V>, sums[i][j]);
  }
}

/// The columns of a product that Width vectors of filters give, in blocks of `Rows` tiles and of kRows at the end.
template <class V, int Rows, int Width, class Load>
void multiplyColumns(const float* v, const float* u, int64_t row, const Load& load, int64_t in, int64_t tiles, float* m,
                     int64_t out) {
  int64_t t = 0;
  if constexpr (Rows > kRows) {
    for (; tiles - t > kRows; t += Rows) {
      multiplyBlock<V, Rows, Width>(v + t * in, u, row, load, in, m + t * out, out);
    }
  }
  for (; t < tiles; t += kRows) multiplyBlock<V, kRows, Width>(v + t * in, u, row, load, in, m + t * out, out);
}

/// Loads the j-th vector of a row of packed filters, `step` floats behind the one before.
template <class V>
auto packedVectors(int64_t step) {
  return [step](const float* row, int j) { return loadVector<V>(row + j * step); };
}

template <class V>
void multiply(const float* v, const float* u, const Packed& packed, int64_t tiles, float* m) {
  const int64_t in = packed.in, out = packed.vectors * kLanes, blocks = packed.offset(0, 1);
  for (int64_t vector = 0; vector < packed.vectors;) {
    const float* filters = u + packed.offset(0, vector / kColumns);
    const int64_t left = packed.vectors - vector;
    float* to = m + vector * kLanes;
    if constexpr (kSixteen<V>) {
      if (left >= 2 * kColumns) {
        multiplyColumns<V, 2 * kRows, 2>(v, filters, kWidth<V>, packedVectors<V>(blocks), in, tiles, to, out);
        vector += 2 * kColumns;
        continue;
      }
    }
    if (left < kColumns) {
      multiplyColumns<Float8, kRows, 1>(v, filters, kLanes, packedVectors<Float8>(0), in, tiles, to, out);
    } else if constexpr (kSixteen<V>) {
      multiplyColumns<V, 2 * kRows, 1>(v, filters, kWidth<V>, packedVectors<V>(0), in, tiles, to, out);
    } else {
      multiplyColumns<V, kRows, kColumns>(v, filters, kColumns * kLanes, packedVectors<V>(kLanes), in, tiles, to, out);
    }
    vector += std::min(left, kColumns);
  }
}

/// Calls body for vectors of columns that lie in groups of eight channels, as many as registers hold at once:
/// body.template operator()<V, Width>(first group).
template <class V, class Body>
void eachColumns(int64_t groups, const Body& body) {
  constexpr int64_t halves = kWidth<V> / kLanes;
  int64_t group = 0;
  for (; group + 2 * halves <= groups; group += 2 * halves) body.template operator()<V, 2>(group);
  if constexpr (kSixteen<V>) {
    for (; group + halves <= groups; group += halves) body.template operator()<V, 1>(group);
  }
  for (; group < groups; ++group) body.template operator()<Float8, 1>(group);
}

template <class V>
void multiplyInPlace(const float* v, const float* u, int64_t in, int64_t vectors, int64_t rows, float* m, int64_t out) {
  const int64_t column = in * kLanes;
  eachColumns<V>(vectors, [&]<class Vector, int Width>(int64_t group) {
    constexpr int64_t halves = kWidth<Vector> / kLanes;
    constexpr int most = kSixteen<Vector> ? 2 * kRows : kRows;
    const auto load = [column](const float* row, int j) {
      Vector value;
      loadHalves(row + j * halves * column, column, value);
      return value;
    };
    multiplyColumns<Vector, most, Width>(v, u + group * column, kLanes, load, in, rows, m + group * kLanes, out);
  });
}

template <class V>
void gradientInPlace(const float* v, int64_t in, const float* d, int64_t vectors, int64_t out, int64_t rows,
                     float* dw) {
  const int64_t column = in * kLanes;
  eachColumns<V>(vectors, [&]<class Vector, int Width>(int64_t group) {
    constexpr int64_t halves = kWidth<Vector> / kLanes;
    constexpr int kTaken = kSixteen<V> ? 8 : 4;  // of v's columns: `in` is a multiple of eight
    const float* from = d + group * kLanes;
    for (int64_t c = 0; c < in; c += kTaken) {
      Vector block[kTaken][Width] = {};
      for (int64_t t = 0; t < rows; ++t) {
        Vector columns[Width];
#pragma GCC unroll 2
        for (int j = 0; j < Width; ++j) columns[j] = loadVector<Vector>(from + t * out + j * kWidth<Vector>);
#pragma GCC unroll 8
        for (int i = 0; i < kTaken; ++i) {
#pragma GCC unroll 2
          for (int j = 0; j < Width; ++j) block[i][j] += v[t * in + c + i] * columns[j];
        }
      }
      float* to = dw + group * column + c * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kTaken; ++i) {
#pragma GCC unroll 2
        for (int j = 0; j < Width; ++j) storeHalves(to + i * kLanes + j * halves * column, column, block[i][j]);
      }
    }
  });
}

/// sums[Rows][Width vectors] += v[tiles][Rows]ᵀ·d[tiles][Width vectors]
template <class V, int Rows, int Width>
void accumulateBlock(const float* v, int64_t in, const float* d, int64_t out, int64_t tiles, float* sums) {
  V block[Rows][Width];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) block[i][j] = loadVector<V>(sums + i * out + j * kWidth<V>);
  }
  for (int64_t t = 0; t < tiles; ++t, v += in, d += out) {
    V columns[Width];
    for (int j = 0; j < Width; ++j) columns[j] = loadVector<V>(d + j * kWidth<V>);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < Width; ++j) block[i][j] += v[i] * columns[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Width; ++j) storeVector(sums + i * out + j * kWidth<V>, block[i][j]);
  }
}

template <class V>
void accumulate(const float* v, int64_t in, const float* d, int64_t width, int64_t out, int64_t tiles, float* sums) {
  eachColumns<V>(width / kLanes, [&]<class Vector, int Width>(int64_t group) {
    constexpr int kTaken = kSixteen<Vector> ? 8 : 4;  // of v's columns
    const int64_t k = group * kLanes;
    for (int64_t c = 0; c < in; c += kTaken) {
      accumulateBlock<Vector, kTaken, Width>(v + c, in, d + k, out, tiles, sums + c * out + k);
    }
  });
}

}  // namespace
}  // namespace kn::cpu::convolution
