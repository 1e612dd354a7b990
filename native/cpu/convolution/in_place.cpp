#include "in_place.h"

#include "../layout.h"
#include "../parallel.h"
#include "driver.h"
#include "patches.h"

namespace kn::cpu {
namespace {

using namespace convolution;

constexpr int64_t kGroup = 4;  ///< groups of eight outputs that are one task

/// A filter as a matrix [outputs, values of a patch], whose groups of eight outputs lie one behind the other; and the
/// patches' pixels.
struct Problem {
  Problem(const op::Filter& w, const op::ConvShape& shape, const op::Act& y)
      : patches{w.h, w.w, shape}, in(patches.taps() * w.in), groups(w.out / kLanes), pixels(y.n * y.pixels()) {}

  Patches patches;
  int64_t in, groups, pixels;

  Chunk chunk() const { return {0, pixels, pixels}; }
  /// With what products add to that.
  int64_t rows() const { return (pixels + kRows - 1) / kRows * kRows; }

  /// Calls body(first group, number of them) for all groups of outputs.
  template <class Body>
  void eachTask(const Body& body) const {
    const auto task = [&](int64_t i) { body(i * kGroup, std::min(kGroup, groups - i * kGroup)); };
    parallelFor((groups + kGroup - 1) / kGroup, task, time());
  }
  /// About how many nanoseconds the products take.
  int64_t time() const { return in * groups * (rows() + kLanes) / 4; }
};

/// to[j][i] = from[i][j] of eight rows of eight, those of the result `step` apart.
inline void transpose(const float* from, float* to, int64_t step) {
  Float8 rows[8], pairs[8], fours[8];
  for (int i = 0; i < 8; ++i) rows[i] = loadFull(from + i * kLanes);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * j + 1] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; ++j) {
    storeFull(to + j * step, __builtin_shufflevector(fours[j], fours[j + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    storeFull(to + (j + 4) * step, __builtin_shufflevector(fours[j], fours[j + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

/// The columns of a product, from outputs to the taps of eight input channels, or of some such groups.
void packTaps(const op::Filter& w, int64_t group, const Packed& packed, float* u) {
  for (int64_t o = 0; o < w.out; o += kLanes) {
    const float* from = w.data + filterIndex(w, o, group * kLanes, 0, 0);
    for (int64_t vector = 0; vector < packed.vectors; ++vector) {
      transpose(from + vector * kLanes * kLanes, u + packed.column(vector) + o * packed.step(vector),
                packed.step(vector));
    }
  }
}

}  // namespace

bool inPlacePays(const op::Filter& w, const op::Act& y) {
  // Where vectors of eight are as quick either way. With those of sixteen it would pay for half as many again; but
  // results are to be the same.
  constexpr int64_t cached = 1 << 19;  // values of a filter, with its copy
  return y.n * y.pixels() <= (w.count() < cached ? 64 : 128);
}

void inPlaceForward(const op::Conv2d& o) {
  const Problem problem(o.w, o.shape, o.y);
  float* v = scratch(Scratch::Values, problem.rows() * problem.in);
  float* m = scratch(Scratch::Products, problem.rows() * o.w.out);
  kernels().gatherBlocks(o.x, problem.patches, o.y, problem.chunk(), v);
  problem.eachTask([&](int64_t group, int64_t count) {
    const int64_t out = group * kLanes;
    kernels().multiplyInPlace(v, o.w.data + out * problem.in, problem.in, count, problem.pixels, m + out, o.w.out);
  });
  kernels().scatterPixels(m, problem.chunk(), {o.bias, o.relu}, o.y);
}

void inPlaceBackwardData(const op::Conv2dBackwardData& o) {
  const Problem problem(o.w, o.shape, o.dy);
  const int64_t taps = problem.patches.taps(), plane = o.dx.pixels() * kLanes, groups = o.dx.c / kLanes;
  float* v = scratch(Scratch::Values, problem.rows() * o.dy.c);
  kernels().gatherPatches(o.dy, kPixel, o.dy, problem.chunk(), v);
  // Filters of one tap give a vector a group: too few for a product.
  const int64_t most = std::max<int64_t>(1, kGroup / taps);
  const auto task = [&](int64_t i) {
    const int64_t first = i * most, count = std::min(most, groups - first);
    const Packed packed{o.dy.c, count * taps};
    float* u = scratch(Scratch::Filters, packed.offset(1, 0));
    float* m = scratch(Scratch::Products, problem.rows() * packed.vectors * kLanes);
    packTaps(o.w, first, packed, u);
    kernels().multiply(v, u, packed, problem.pixels, m);
    for (int64_t group = 0; group < count; ++group) {
      const int64_t offset = (first + group) * plane;
      for (int64_t n = 0; n < o.dx.n; ++n) std::fill_n(o.dx.values() + n * groups * plane + offset, plane, 0.0f);
      eachPixel(o.dy, problem.chunk(), [&](int64_t sample, int64_t row, int64_t column, int64_t pixel) {
        const float* from = m + (pixel * packed.vectors + group * taps) * kLanes;
        eachTap(o.dx, problem.patches, sample, row, column, [&](float* to, int64_t) {
          if (to) storeFull(to + offset, loadFull(to + offset) + loadFull(from));
          from += kLanes;
        });
      });
    }
  };
  parallelFor((groups + most - 1) / most, task, problem.time());
}

void inPlaceBackwardWeights(const op::Conv2dBackwardWeights& o) {
  const Problem problem(o.dw, o.shape, o.dy);
  float* v = scratch(Scratch::Values, problem.pixels * problem.in);
  float* d = scratch(Scratch::Products, problem.pixels * o.dy.c);
  kernels().gatherBlocks(o.x, problem.patches, o.dy, problem.chunk(), v);
  kernels().gatherPatches(o.dy, kPixel, o.dy, problem.chunk(), d);
  problem.eachTask([&](int64_t group, int64_t count) {
    const int64_t out = group * kLanes;
    kernels().gradientInPlace(v, problem.in, d + out, count, o.dy.c, problem.pixels, o.dw.data + out * problem.in);
  });
}

}  // namespace kn::cpu
