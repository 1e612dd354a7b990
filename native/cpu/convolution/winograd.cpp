#include "winograd.h"

#include "../layout.h"
#include "../parallel.h"
#include "driver.h"

namespace kn::cpu {
namespace {

using namespace convolution;

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
  float* u = scratch(Scratch::Filters, packed.count());
  parallelFor(
      packed.vectors,
      [&](int64_t vector) {
        float* to = u + packed.column(vector);
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
            storeFull(to + packed.offset(point, 0) + c * packed.step(vector), values[point / 4][point % 4]);
          }
        }
      },
      in * out * (backward ? 12 : 3));
  return u;
}

/// y = the convolution of x with packed filters, behind the epilogue.
void convolve(const op::Act& x, const float* u, const op::Act& y, int64_t top, int64_t left, const Epilogue& epilogue) {
  const Tiles tiles(y.n, y.h, y.w, top, left);
  const Packed packed{x.c, y.c / kLanes};
  const Chunks chunks{tiles.count, chunkLength(kPoints * (x.c + y.c), kCachedBytes, 4 * kRows)};
  parallelFor(chunks.count(), [&](int64_t index) {
    const Chunk chunk = chunks[index];
    const int64_t stepV = chunk.step(x.c), stepM = chunk.step(y.c);
    float* v = scratch(Scratch::Values, kPoints * stepV);
    float* m = scratch(Scratch::Products, kPoints * stepM);
    kernels().gatherInput(x, tiles, chunk, v);
    for (int64_t point = 0; point < kPoints; ++point) {
      kernels().multiply(v + point * stepV, u + packed.offset(point, 0), packed, chunk.rows(), m + point * stepM);
    }
    kernels().scatterOutput(m, tiles, chunk, epilogue, y);
  });
}

}  // namespace

bool winogradFits(const op::Act& x, const op::Filter& w, const op::ConvShape& shape) {
  return x.format == Format::Activation && w.h == 3 && w.w == 3 && shape.strideH == 1 && shape.strideW == 1 &&
         shape.plain() && shape.top <= 2 && shape.left <= 2 && w.in % kLanes == 0 && w.out % kLanes == 0;
}

bool winogradPays(const op::Filter& w) { return w.in >= 16 && w.out >= 16; }

void winogradForward(const op::Conv2d& o) {
  convolve(o.x, packFilters(o.w, false), o.y, o.shape.top, o.shape.left, {o.bias, o.relu});
}

void winogradBackwardData(const op::Conv2dBackwardData& o) {
  convolve(o.dy, packFilters(o.w, true), o.dx, 2 - o.shape.top, 2 - o.shape.left, {nullptr, false});
}

void winogradBackwardWeights(const op::Conv2dBackwardWeights& o) {
  const Tiles tiles(o.dy.n, o.dy.h, o.dy.w, o.shape.top, o.shape.left);
  const int64_t in = o.x.c, out = o.dy.c;
  // Longer than the other chunks: each is a pass over all sums, which may be far more than what is summed.
  const Chunks chunks{tiles.count, chunkLength(kPoints * (in + out), 4 * kCachedBytes, 8 * kRows)};
  const PartSums sums(chunks.count(), kPoints * in, out);
  parallelFor(sums.tasks(), [&](int64_t i) {
    const PartSums::Task task = sums.task(i);
    for (int64_t index = task.first; index < task.last; ++index) {
      const Chunk chunk = chunks[index];
      const int64_t stepV = chunk.step(in), stepD = chunk.step(out);
      float* v = scratch(Scratch::Values, kPoints * stepV);
      float* d = scratch(Scratch::Products, kPoints * stepD);
      kernels().gatherInput(o.x, tiles, chunk, v);
      kernels().gatherGradient(o.dy, tiles, chunk, d);
      for (int64_t point = 0; point < kPoints; ++point) {
        kernels().accumulate(v + point * stepV, in, d + point * stepD + task.column, task.width, out, chunk.rows(),
                             task.sums + point * in * out);
      }
    }
  });
  parallelFor(
      in,
      [&](int64_t c) {
        for (int64_t k = 0; k < out; k += kLanes) {
          Float8 m[4][4], half[3][4];
          for (int64_t point = 0; point < kPoints; ++point) {
            m[point / 4][point % 4] = sums.total(point * in + c, k);
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
      },
      sums.timeOfTotals());
}

}  // namespace kn::cpu
