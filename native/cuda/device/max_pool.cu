#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

/// Windows of a large image, each a pixel of a small one. Channels are counted in packs.
struct MaxWindowGrid {
  int64_t samples, packs;
  int64_t height, width;  ///< of the large image
  int64_t rows, columns;  ///< of the small one
  op::MaxWindows windows;
};

/// Whether a value comes before another as the largest: a NaN is larger than any number.
__device__ __forceinline__ bool exceeds(float a, float b) { return a > b || (a != a && b == b); }

/// Values are read as often as windows hold them, from the caches but for the first time; written once.
template <class T, int V>
__global__ void maxPool2d(MaxWindowGrid g, const T* x, T* y) {
  const op::ConvShape shape = g.windows.shape;
  const int64_t items = g.samples * g.rows * g.columns * g.packs;
  for (int64_t item = firstItem(); item < items; item += itemStep()) {
    const int64_t pack = item % g.packs, pixel = item / g.packs;
    const int64_t column = pixel % g.columns, row = pixel / g.columns % g.rows, sample = pixel / g.columns / g.rows;
    const int64_t top = row * shape.strideH - shape.top, left = column * shape.strideW - shape.left;
    Pack<V> best = broadcast<V>(0);
    bool first = true;
    for (int64_t i = top; i < top + g.windows.height; ++i) {
      for (int64_t j = left; j < left + g.windows.width; ++j) {
        if (i < 0 || i >= g.height || j < 0 || j >= g.width) continue;
        const Pack<V> value = load<V>(x + (((sample * g.height + i) * g.width + j) * g.packs + pack) * V);
#pragma unroll
        for (int k = 0; k < V; ++k) best[k] = first || exceeds(value[k], best[k]) ? value[k] : best[k];
        first = false;
      }
    }
    store<V>(y + item * V, best);
  }
}

/// A thread for each pack of dx gathers from the windows that hold its pixel, in a fixed order: no atomics, and no
/// memory for where the largest values are. x is read from the caches, once for each pair of pixels in a window.
template <class T, int V>
__global__ void maxPool2dBackward(MaxWindowGrid g, const T* x, const T* dy, T* dx) {
  const op::ConvShape shape = g.windows.shape;
  const int64_t items = g.samples * g.height * g.width * g.packs;
  for (int64_t item = firstItem(); item < items; item += itemStep()) {
    const int64_t pack = item % g.packs, pixel = item / g.packs;
    const int64_t column = pixel % g.width, row = pixel / g.width % g.height, sample = pixel / g.width / g.height;
    const Pack<V> own = load<V>(x + item * V);
    Pack<V> sum = broadcast<V>(0);
    // The first window that reaches down to this row, or right to this column.
    const int64_t above = row + shape.top - g.windows.height, before = column + shape.left - g.windows.width;
    const int64_t firstRow = above < 0 ? 0 : above / shape.strideH + 1;
    const int64_t firstColumn = before < 0 ? 0 : before / shape.strideW + 1;
    for (int64_t r = firstRow; r < g.rows && r * shape.strideH <= row + shape.top; ++r) {
      for (int64_t c = firstColumn; c < g.columns && c * shape.strideW <= column + shape.left; ++c) {
        const int64_t top = r * shape.strideH - shape.top, left = c * shape.strideW - shape.left;
        bool largest[V];
#pragma unroll
        for (int k = 0; k < V; ++k) largest[k] = true;
        for (int64_t i = top; i < top + g.windows.height; ++i) {
          for (int64_t j = left; j < left + g.windows.width; ++j) {
            if (i < 0 || i >= g.height || j < 0 || j >= g.width || (i == row && j == column)) continue;
            const bool earlier = i < row || (i == row && j < column);
            const Pack<V> value = load<V>(x + (((sample * g.height + i) * g.width + j) * g.packs + pack) * V);
#pragma unroll
            for (int k = 0; k < V; ++k) {
              largest[k] = largest[k] && (earlier ? exceeds(own[k], value[k]) : !exceeds(value[k], own[k]));
            }
          }
        }
        const Pack<V> gradient = load<V>(dy + (((sample * g.rows + r) * g.columns + c) * g.packs + pack) * V);
#pragma unroll
        for (int k = 0; k < V; ++k) sum[k] += largest[k] ? gradient[k] : 0.0f;
      }
    }
    store<V>(dx + item * V, sum);
  }
}

namespace {

MaxWindowGrid gridOf(const op::Act& large, const op::Act& small, const op::MaxWindows& windows, int pack) {
  return {large.n, large.c / pack, large.h, large.w, small.h, small.w, windows};
}

}  // namespace

void run(const op::MaxPool2d& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        launchItems(context, o.y.count() / V, maxPool2d<T, V>, gridOf(o.x, o.y, o.windows, V), o.x.values<T>(),
                    o.y.values<T>());
      },
      o.x.data, o.y.data);
}

void run(const op::MaxPool2dBackward& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        launchItems(context, o.dx.count() / V, maxPool2dBackward<T, V>, gridOf(o.x, o.dy, o.windows, V),
                    o.x.values<T>(), o.dy.values<T>(), o.dx.values<T>());
      },
      o.x.data, o.dy.data, o.dx.data);
}

}  // namespace kn::cuda
