#include "winograd.h"

#include <algorithm>
#include <vector>

#include "layout.h"
#include "parallel.h"
#include "winograd_products.h"

namespace kn::cpu {
namespace {

constexpr int64_t kPoints = Packed::kPoints;

/// Scratch memory of a thread; grows and stays.
float* scratch(int which, int64_t count) {
  thread_local std::vector<float> buffers[3];
  std::vector<float>& buffer = buffers[which];
  if (static_cast<int64_t>(buffer.size()) < count + kLanes) buffer.resize(count + kLanes);
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  return buffer.data() + (32 - address % 32) % 32 / sizeof(float);
}

/// The tiles of a tensor: tile (y, x) of the output covers pixels 2y, 2y + 1 and the input from 2y - top.
struct Tiles {
  int64_t rows, columns, count, top, left;

  Tiles(int64_t samples, int64_t height, int64_t width, int64_t top, int64_t left)
      : rows((height + 1) / 2), columns((width + 1) / 2), count(samples * rows * columns), top(top), left(left) {}

  struct Place {
    int64_t sample, row, column;
  };
  Place place(int64_t tile) const { return {tile / columns / rows, tile / columns % rows, tile % columns}; }
  void advance(Place& place) const {
    if (++place.column < columns) return;
    place.column = 0;
    if (++place.row < rows) return;
    place.row = 0;
    ++place.sample;
  }
};

/// Floats from one point's matrix [tiles, channels] to the next. A cache line more than the matrix: else the 16 streams
/// that a transform writes would fall into few sets of the cache.
int64_t pointStep(int64_t tiles, int64_t channels) { return tiles * channels + 16; }

/// Tiles that are multiplied at a time: their transformed values stay in the second-level cache.
int64_t chunkLength(int64_t in, int64_t out) {
  constexpr int64_t bytes = 128 << 10;
  const int64_t fitting = bytes / (kPoints * (in + out) * static_cast<int64_t>(sizeof(float)));
  return std::max(kRows, std::min<int64_t>(96, fitting / kRows * kRows));
}

/// Bᵀ·d of one column of a tile, whose pixels are `step` apart; zero outside of the image's rows.
inline void transformColumn(const float* pixels, int64_t step, int64_t row, int64_t rows, Float8 (&d)[4]) {
  Float8 p[4];
  if (row >= 0 && row + 4 <= rows) {
    for (int64_t i = 0; i < 4; ++i) p[i] = loadFull(pixels + i * step);
  } else {
    for (int64_t i = 0; i < 4; ++i) p[i] = row + i >= 0 && row + i < rows ? loadFull(pixels + i * step) : Float8{};
  }
  d[0] = p[0] - p[2];
  d[1] = p[1] + p[2];
  d[2] = p[2] - p[1];
  d[3] = p[1] - p[3];
}

/// Transforms tiles [first, last) of x into v[point][tile - first][channel].
void gatherInput(const op::Act& x, const Tiles& tiles, int64_t first, int64_t last, int64_t length, float* v) {
  const int64_t step = pointStep(length, x.c), line = x.w * kLanes;
  Tiles::Place at = tiles.place(first);
  for (int64_t t = first; t < last; ++t, tiles.advance(at)) {
    const int64_t y0 = 2 * at.row - tiles.top, x0 = 2 * at.column - tiles.left;
    const float* tile = x.values() + (at.sample * x.pixels() * x.c) + y0 * line + x0 * kLanes;
    for (int64_t group = 0; group < x.c / kLanes; ++group, tile += x.pixels() * kLanes) {
      Float8 d[4][4];  // by column
      for (int64_t j = 0; j < 4; ++j) {
        if (x0 + j >= 0 && x0 + j < x.w) {
          transformColumn(tile + j * kLanes, line, y0, x.h, d[j]);
        } else {
          for (Float8& value : d[j]) value = Float8{};
        }
      }
      float* to = v + (t - first) * x.c + group * kLanes;
      for (int i = 0; i < 4; ++i) {
        storeFull(to + (i * 4) * step, d[0][i] - d[2][i]);
        storeFull(to + (i * 4 + 1) * step, d[1][i] + d[2][i]);
        storeFull(to + (i * 4 + 2) * step, d[2][i] - d[1][i]);
        storeFull(to + (i * 4 + 3) * step, d[1][i] - d[3][i]);
      }
    }
  }
}

/// What is done to results before they are written: bias [out], or null, and ReLU.
struct Epilogue {
  const float* bias;
  bool relu;
};

/// Writes Aᵀ·m·A of the products m[point][tile - first][channel] into y, behind the epilogue.
template <bool Relu>
void scatterOutput(const float* m, const Tiles& tiles, int64_t first, int64_t last, int64_t length, const float* bias,
                   const op::Act& y) {
  const int64_t step = pointStep(length, y.c);
  Tiles::Place at = tiles.place(first);
  for (int64_t t = first; t < last; ++t, tiles.advance(at)) {
    const int64_t y0 = 2 * at.row, x0 = 2 * at.column;
    for (int64_t group = 0; group < y.c / kLanes; ++group) {
      const float* from = m + (t - first) * y.c + group * kLanes;
      Float8 half[2][4];
      for (int j = 0; j < 4; ++j) {
        const Float8 a = loadFull(from + j * step), b = loadFull(from + (4 + j) * step);
        const Float8 c = loadFull(from + (8 + j) * step), d = loadFull(from + (12 + j) * step);
        half[0][j] = a + b + c;
        half[1][j] = b - c - d;
      }
      const Float8 shift = bias ? loadFull(bias + group * kLanes) : Float8{};
      const auto write = [&](float* to, Float8 value) { storeFull(to, Relu ? relu(value + shift) : value + shift); };
      float* image = y.values() + (at.sample * (y.c / kLanes) + group) * y.pixels() * kLanes;
      for (int64_t i = 0; i < 2 && y0 + i < y.h; ++i) {
        float* row = image + ((y0 + i) * y.w + x0) * kLanes;
        write(row, half[i][0] + half[i][1] + half[i][2]);
        if (x0 + 1 < y.w) write(row + kLanes, half[i][1] - half[i][2] - half[i][3]);
      }
    }
  }
}

/// Transforms the gradient of tiles into d[point][tile - first][channel]: A·dy·Aᵀ, the transpose of `scatterOutput`.
void gatherGradient(const op::Act& dy, const Tiles& tiles, int64_t first, int64_t last, int64_t length, float* d) {
  const int64_t step = pointStep(length, dy.c);
  Tiles::Place at = tiles.place(first);
  for (int64_t t = first; t < last; ++t, tiles.advance(at)) {
    const int64_t y0 = 2 * at.row, x0 = 2 * at.column;
    for (int64_t group = 0; group < dy.c / kLanes; ++group) {
      const float* image = dy.values() + (at.sample * (dy.c / kLanes) + group) * dy.pixels() * kLanes;
      Float8 g[2][2];
      for (int64_t i = 0; i < 2; ++i) {
        for (int64_t j = 0; j < 2; ++j) {
          const bool valid = y0 + i < dy.h && x0 + j < dy.w;
          g[i][j] = valid ? loadFull(image + ((y0 + i) * dy.w + x0 + j) * kLanes) : Float8{};
        }
      }
      const Float8 rows[4][2] = {{g[0][0], g[0][1]},
                                 {g[0][0] + g[1][0], g[0][1] + g[1][1]},
                                 {g[0][0] - g[1][0], g[0][1] - g[1][1]},
                                 {-g[1][0], -g[1][1]}};
      float* to = d + (t - first) * dy.c + group * kLanes;
      for (int i = 0; i < 4; ++i) {
        const Float8 a = rows[i][0], b = rows[i][1];
        storeFull(to + (i * 4) * step, a);
        storeFull(to + (i * 4 + 1) * step, a + b);
        storeFull(to + (i * 4 + 2) * step, a - b);
        storeFull(to + (i * 4 + 3) * step, -b);
      }
    }
  }
}

/// G·w·Gᵀ of eight filters.
inline void transformFilter(const Float8 (&w)[3][3], Float8 (&u)[4][4]) {
  Float8 half[4][3];
  for (int j = 0; j < 3; ++j) {
    const Float8 sum = w[0][j] + w[2][j];
    half[0][j] = w[0][j];
    half[1][j] = 0.5f * (sum + w[1][j]);
    half[2][j] = 0.5f * (sum - w[1][j]);
    half[3][j] = w[2][j];
  }
  for (int i = 0; i < 4; ++i) {
    const Float8 sum = half[i][0] + half[i][2];
    u[i][0] = half[i][0];
    u[i][1] = 0.5f * (sum + half[i][1]);
    u[i][2] = 0.5f * (sum - half[i][1]);
    u[i][3] = half[i][2];
  }
}

/// Transformed filters from `in` to `out` channels. `backward`: filters as the data's gradient needs them, turned by
/// half a turn, inputs and outputs exchanged.
const float* packFilters(const op::Filter& w, bool backward) {
  const int64_t in = backward ? w.out : w.in, out = backward ? w.in : w.out;
  const Packed packed{in, out / kLanes};
  float* u = scratch(2, packed.count());
  parallelFor(packed.vectors, [&](int64_t vector) {
    const int64_t block = vector / kColumns, column = vector % kColumns, width = packed.width(block);
    for (int64_t c = 0; c < in; ++c) {
      Float8 taps[3][3], values[4][4];
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < 3; ++j) {
          if (backward) {
            for (int64_t k = 0; k < kLanes; ++k) {
              taps[i][j][k] = w.data[filterIndex(w, c, vector * kLanes + k, 2 - i, 2 - j)];
            }
          } else {
            taps[i][j] = loadFull(w.data + filterIndex(w, vector * kLanes, c, i, j));
          }
        }
      }
      transformFilter(taps, values);
      for (int point = 0; point < kPoints; ++point) {
        storeFull(u + packed.offset(point, block) + (c * width + column) * kLanes, values[point / 4][point % 4]);
      }
    }
  });
  return u;
}

/// y = the convolution of x with packed filters, behind the epilogue.
void convolve(const op::Act& x, const float* u, const op::Act& y, int64_t top, int64_t left, const Epilogue& epilogue) {
  const Tiles tiles(y.n, y.h, y.w, top, left);
  const Packed packed{x.c, y.c / kLanes};
  const int64_t length = chunkLength(x.c, y.c);
  parallelFor((tiles.count + length - 1) / length, [&](int64_t chunk) {
    const int64_t first = chunk * length, last = std::min(first + length, tiles.count);
    const int64_t stepV = pointStep(length, x.c), stepM = pointStep(length, y.c);
    float* v = scratch(0, kPoints * stepV);
    float* m = scratch(1, kPoints * stepM);
    gatherInput(x, tiles, first, last, length, v);
    for (int64_t point = 0; point < kPoints; ++point) {
      multiplyTiles(v + point * stepV, u + packed.offset(point, 0), packed, last - first, m + point * stepM);
    }
    epilogue.relu ? scatterOutput<true>(m, tiles, first, last, length, epilogue.bias, y)
                  : scatterOutput<false>(m, tiles, first, last, length, epilogue.bias, y);
  });
}

}  // namespace

bool winogradFits(const op::Act& x, const op::Filter& w, const op::ConvShape& shape) {
  return x.format == Format::Activation && w.h == 3 && w.w == 3 && shape.strideH == 1 && shape.strideW == 1 &&
         shape.plain() && shape.top <= 2 && shape.left <= 2 && w.in % kLanes == 0 && w.out % kLanes == 0;
}

bool winogradPays(const op::Filter& w) {
  const int64_t least = wideProducts() ? 16 : 32;
  return w.in >= least && w.out >= least;
}

void winogradForward(const op::Conv2d& o) {
  convolve(o.x, packFilters(o.w, false), o.y, o.shape.top, o.shape.left, {o.bias, o.relu});
}

void winogradBackwardData(const op::Conv2dBackwardData& o) {
  convolve(o.dy, packFilters(o.w, true), o.dx, 2 - o.shape.top, 2 - o.shape.left, {nullptr, false});
}

void winogradBackwardWeights(const op::Conv2dBackwardWeights& o) {
  const Tiles tiles(o.dy.n, o.dy.h, o.dy.w, o.shape.top, o.shape.left);
  const int64_t in = o.x.c, out = o.dy.c, length = chunkLength(in, out), size = kPoints * in * out;
  const int64_t chunks = (tiles.count + length - 1) / length;
  // The sums over all tiles are made of a fixed number of parts, so that they don't depend on the number of threads.
  const int64_t parts = std::min<int64_t>(8, chunks);
  std::vector<float> sums(parts * size);
  parallelFor(parts, [&](int64_t part) {
    const int64_t stepV = pointStep(length, in), stepD = pointStep(length, out);
    float* v = scratch(0, kPoints * stepV);
    float* d = scratch(1, kPoints * stepD);
    float* own = &sums[part * size];
    for (int64_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; ++chunk) {
      const int64_t first = chunk * length, last = std::min(first + length, tiles.count);
      gatherInput(o.x, tiles, first, last, length, v);
      gatherGradient(o.dy, tiles, first, last, length, d);
      for (int64_t point = 0; point < kPoints; ++point) {
        accumulateTiles(v + point * stepV, in, d + point * stepD, out, last - first, own + point * in * out);
      }
    }
  });
  parallelFor(in, [&](int64_t c) {
    for (int64_t k = 0; k < out; k += kLanes) {
      Float8 m[4][4], half[3][4];
      for (int64_t point = 0; point < kPoints; ++point) {
        Float8 sum = {};
        for (int64_t part = 0; part < parts; ++part) sum += loadFull(&sums[part * size + (point * in + c) * out + k]);
        m[point / 4][point % 4] = sum;
      }
      for (int j = 0; j < 4; ++j) {
        half[0][j] = m[0][j] + 0.5f * (m[1][j] + m[2][j]);
        half[1][j] = 0.5f * (m[1][j] - m[2][j]);
        half[2][j] = 0.5f * (m[1][j] + m[2][j]) + m[3][j];
      }
      for (int i = 0; i < 3; ++i) {
        const Float8 taps[3] = {half[i][0] + 0.5f * (half[i][1] + half[i][2]), 0.5f * (half[i][1] - half[i][2]),
                                0.5f * (half[i][1] + half[i][2]) + half[i][3]};
        for (int j = 0; j < 3; ++j) storeFull(o.dw.data + filterIndex(o.dw, k, c, i, j), taps[j]);
      }
    }
  });
}

}  // namespace kn::cpu
