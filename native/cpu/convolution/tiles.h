#pragma once
#include "kernels.h"
#include "vectors.h"

/// Winograd's transforms, F(2x2, 3x3).
namespace kn::cpu::convolution {
namespace {

/// Calls body for the tiles of a chunk that lie side by side: body(sample, row, column, tiles, their offset in the
/// chunk).
template <class Body>
inline void eachRun(const Tiles& tiles, const Chunk& chunk, const Body& body) {
  for (int64_t t = chunk.first; t < chunk.last;) {
    const int64_t line = t / tiles.columns, column = t % tiles.columns;
    const int64_t run = std::min(tiles.columns - column, chunk.last - t);
    body(line / tiles.rows, line % tiles.rows, column, run, t - chunk.first);
    t += run;
  }
}

/// Two neighbouring pixels of eight channels, or of sixteen, the others of which lie `group` floats on. What isn't
/// there is zero.
inline void loadPair(const float* at, int64_t, bool left, bool right, Float8& a, Float8& b) {
  a = left ? loadVector<Float8>(at) : Float8{};
  b = right ? loadVector<Float8>(at + kLanes) : Float8{};
}
inline void storePair(float* at, int64_t, bool right, Float8 a, Float8 b) {
  storeVector(at, a);
  if (right) storeVector(at + kLanes, b);
}
#ifdef __AVX512F__
inline Float16 loadPixels(const float* at, bool left, bool right) {
  if (left && right) return loadVector<Float16>(at);
  Float8 a, b;
  loadPair(at, 0, left, right, a, b);
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
/// Exchanges pixels and groups of channels: (pixel 0, pixel 1) of two groups and (group 0, group 1) of two pixels.
inline void exchange(Float16 first, Float16 second, Float16& low, Float16& high) {
  low = __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
  high = __builtin_shufflevector(first, second, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
inline void loadPair(const float* at, int64_t group, bool left, bool right, Float16& a, Float16& b) {
  exchange(loadPixels(at, left, right), loadPixels(at + group, left, right), a, b);
}
inline void storePair(float* at, int64_t group, bool right, Float16 a, Float16 b) {
  Float16 first, second;
  exchange(a, b, first, second);
  if (right) {
    storeVector(at, first);
    storeVector(at + group, second);
  } else {
    storeVector(at, __builtin_shufflevector(first, first, 0, 1, 2, 3, 4, 5, 6, 7));
    storeVector(at + group, __builtin_shufflevector(second, second, 0, 1, 2, 3, 4, 5, 6, 7));
  }
}
#endif

/// Asks for two rows of a pair that are needed a row of tiles later. For what is written this takes a quarter of the
/// time off: lines that come in the order of tiles are none that the processor foresees.
template <class V>
inline void prefetchPair(const float* at, int64_t line, int64_t group) {
  for (int i = 0; i < 2; ++i) {
    __builtin_prefetch(at + i * line);
    if (kSixteen<V>) __builtin_prefetch(at + i * line + group);
  }
}

/// Bᵀ·d of one column of a tile.
template <class V>
inline void transformColumn(const V (&p)[4], V (&d)[4]) {
  d[0] = p[0] - p[2];
  d[1] = p[1] + p[2];
  d[2] = p[2] - p[1];
  d[3] = p[1] - p[3];
}

template <class V>
void gatherInput(const op::Act& x, const Tiles& tiles, const Chunk& chunk, float* v) {
  const int64_t step = chunk.step(x.c), line = x.w * kLanes, group = x.pixels() * kLanes;
  eachRun(tiles, chunk, [&](int64_t sample, int64_t tileRow, int64_t tileColumn, int64_t run, int64_t offset) {
    const int64_t y = 2 * tileRow - tiles.top, left = 2 * tileColumn - tiles.left;
    const bool rowsInside = y >= 0 && y + 4 <= x.h;
    eachVector<V>(x.c, [&](auto vector, int64_t channel) {
      using Vector = decltype(vector);
      const float* image = x.values() + (sample * x.c + channel) * x.pixels() + y * line;
      const auto transformPair = [&](int64_t column, Vector(&first)[4], Vector(&second)[4]) {
        Vector a[4], b[4];
        const float* pixels = image + column * kLanes;
        if (rowsInside && column >= 0 && column + 2 <= x.w) {
          for (int64_t i = 0; i < 4; ++i) loadPair(pixels + i * line, group, true, true, a[i], b[i]);
        } else {
          const bool hasLeft = column >= 0 && column < x.w, hasRight = column + 1 >= 0 && column + 1 < x.w;
          for (int64_t i = 0; i < 4; ++i) {
            const bool inside = y + i >= 0 && y + i < x.h;
            loadPair(pixels + i * line, group, inside && hasLeft, inside && hasRight, a[i], b[i]);
          }
        }
        transformColumn(a, first);
        transformColumn(b, second);
      };
      // Neighbouring tiles share two of their four columns.
      Vector d[4][4];
      transformPair(left, d[0], d[1]);
      float* to = v + offset * x.c + channel;
      for (int64_t t = 0; t < run; ++t, to += x.c) {
        const int64_t column = left + 2 * t + 2;
        transformPair(column, d[2], d[3]);
        prefetchPair<Vector>(image + 4 * line + column * kLanes, line, group);
        for (int i = 0; i < 4; ++i) {
          storeVector(to + (i * 4) * step, d[0][i] - d[2][i]);
          storeVector(to + (i * 4 + 1) * step, d[1][i] + d[2][i]);
          storeVector(to + (i * 4 + 2) * step, d[2][i] - d[1][i]);
          storeVector(to + (i * 4 + 3) * step, d[1][i] - d[3][i]);
          d[0][i] = d[2][i];
          d[1][i] = d[3][i];
        }
      }
    });
  });
}

template <class V>
void gatherGradient(const op::Act& dy, const Tiles& tiles, const Chunk& chunk, float* d) {
  const int64_t step = chunk.step(dy.c), line = dy.w * kLanes, group = dy.pixels() * kLanes;
  eachRun(tiles, chunk, [&](int64_t sample, int64_t tileRow, int64_t tileColumn, int64_t run, int64_t offset) {
    const int64_t y = 2 * tileRow;
    const bool below = y + 1 < dy.h;
    eachVector<V>(dy.c, [&](auto vector, int64_t channel) {
      using Vector = decltype(vector);
      const float* pixels = dy.values() + (sample * dy.c + channel) * dy.pixels() + y * line + 2 * tileColumn * kLanes;
      float* to = d + offset * dy.c + channel;
      for (int64_t t = 0; t < run; ++t, pixels += 2 * kLanes, to += dy.c) {
        const bool right = 2 * (tileColumn + t) + 1 < dy.w;
        Vector g[2][2];
        loadPair(pixels, group, true, right, g[0][0], g[0][1]);
        loadPair(pixels + line, group, below, below && right, g[1][0], g[1][1]);
        const Vector rows[4][2] = {{g[0][0], g[0][1]},
                                   {g[0][0] + g[1][0], g[0][1] + g[1][1]},
                                   {g[0][0] - g[1][0], g[0][1] - g[1][1]},
                                   {-g[1][0], -g[1][1]}};
        for (int i = 0; i < 4; ++i) {
          const Vector a = rows[i][0], b = rows[i][1];
          storeVector(to + (i * 4) * step, a);
          storeVector(to + (i * 4 + 1) * step, a + b);
          storeVector(to + (i * 4 + 2) * step, a - b);
          storeVector(to + (i * 4 + 3) * step, -b);
        }
      }
    });
  });
}

template <class V, bool Relu>
void scatter(const float* m, const Tiles& tiles, const Chunk& chunk, const float* bias, const op::Act& y) {
  const int64_t step = chunk.step(y.c), line = y.w * kLanes, group = y.pixels() * kLanes;
  eachRun(tiles, chunk, [&](int64_t sample, int64_t tileRow, int64_t tileColumn, int64_t run, int64_t offset) {
    const int64_t rows = std::min<int64_t>(2, y.h - 2 * tileRow);
    eachVector<V>(y.c, [&](auto vector, int64_t channel) {
      using Vector = decltype(vector);
      const Vector shift = bias ? loadVector<Vector>(bias + channel) : Vector{};
      const auto finish = [&](Vector value) { return Relu ? reluVector(value + shift) : value + shift; };
      const float* from = m + offset * y.c + channel;
      float* to = y.values() + (sample * y.c + channel) * y.pixels() + 2 * tileRow * line + 2 * tileColumn * kLanes;
      for (int64_t t = 0; t < run; ++t, from += y.c, to += 2 * kLanes) {
        prefetchPair<Vector>(to + 2 * line, line, group);
        Vector half[2][4];
        for (int j = 0; j < 4; ++j) {
          const Vector a = loadVector<Vector>(from + j * step), b = loadVector<Vector>(from + (4 + j) * step);
          const Vector c = loadVector<Vector>(from + (8 + j) * step), d = loadVector<Vector>(from + (12 + j) * step);
          half[0][j] = a + b + c;
          half[1][j] = b - c - d;
        }
        const bool right = 2 * (tileColumn + t) + 1 < y.w;
        for (int64_t i = 0; i < rows; ++i) {
          storePair(to + i * line, group, right, finish(half[i][0] + half[i][1] + half[i][2]),
                    finish(half[i][1] - half[i][2] - half[i][3]));
        }
      }
    });
  });
}

template <class V>
void scatterOutput(const float* m, const Tiles& tiles, const Chunk& chunk, const Epilogue& epilogue, const op::Act& y) {
  epilogue.relu ? scatter<V, true>(m, tiles, chunk, epilogue.bias, y)
                : scatter<V, false>(m, tiles, chunk, epilogue.bias, y);
}

}  // namespace
}  // namespace kn::cpu::convolution
