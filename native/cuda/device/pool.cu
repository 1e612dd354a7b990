#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

/// Windows of size × size pixels of a large image, each a pixel of a small one. Channels are counted in packs.
struct PoolWindows {
  int64_t samples, packs;
  int64_t height, width;  ///< of the large image
  int64_t rows, columns;  ///< of the small one
  int64_t size;
};

/// Values read once, but for those that no window holds; values written once.
template <class T, int V>
__global__ void avgPool2d(PoolWindows w, const T* x, T* y, float share) {
  const int64_t items = w.samples * w.rows * w.columns * w.packs;
  for (int64_t item = firstItem(); item < items; item += itemStep()) {
    const int64_t pack = item % w.packs, pixel = item / w.packs;
    const int64_t column = pixel % w.columns, row = pixel / w.columns % w.rows, sample = pixel / w.columns / w.rows;
    const int64_t corner = (sample * w.height + row * w.size) * w.width + column * w.size;
    Pack<V> sum = broadcast<V>(0);
    for (int64_t i = 0; i < w.size; ++i) {
      for (int64_t j = 0; j < w.size; ++j) {
        const Pack<V> value = load<V>(x + ((corner + i * w.width + j) * w.packs + pack) * V);
#pragma unroll
        for (int k = 0; k < V; ++k) sum[k] += value[k];
      }
    }
#pragma unroll
    for (int k = 0; k < V; ++k) sum[k] *= share;
    store<V>(y + item * V, sum);
  }
}

/// A thread for each pack of dx, so that what windows drop is zeroed in the same pass; dy comes from memory once and
/// from the caches for the other pixels of a window.
template <class T, int V>
__global__ void avgPool2dBackward(PoolWindows w, const T* dy, T* dx, float share) {
  const int64_t items = w.samples * w.height * w.width * w.packs;
  for (int64_t item = firstItem(); item < items; item += itemStep()) {
    const int64_t pack = item % w.packs, pixel = item / w.packs;
    const int64_t column = pixel % w.width / w.size, row = pixel / w.width % w.height / w.size;
    const int64_t sample = pixel / w.width / w.height;
    Pack<V> value = broadcast<V>(0);
    if (row < w.rows && column < w.columns) {
      value = load<V>(dy + (((sample * w.rows + row) * w.columns + column) * w.packs + pack) * V);
#pragma unroll
      for (int k = 0; k < V; ++k) value[k] *= share;
    }
    store<V>(dx + item * V, value);
  }
}

/// How a block of the global mean is cut: `width` packs of channels side by side, `threadRows` pixels in flight.
struct PoolColumns {
  int64_t samples, pixels, packs, slabs;
  int width, threadRows;

  PoolColumns(const op::Act& x, int pack) : samples(x.n), pixels(x.pixels()), packs(x.c / pack) {
    slabs = ceilDivide(packs, 32);
    width = static_cast<int>(ceilDivide(packs, slabs));
    threadRows = std::min(kItemThreads / width, 32);
  }
};

/// Each value read once; sums in a fixed order.
template <class T, int V>
__global__ void globalAvgPool(PoolColumns c, const T* x, float* y) {
  KN_SHARED(float, partial, [V * kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x), threads = c.width * c.threadRows;
  const int threadRow = thread / c.width;
  for (int64_t task = blockIdx.x; task < c.samples * c.slabs; task += gridDim.x) {
    const int64_t sample = task / c.slabs, firstPack = task % c.slabs * c.width;
    const int64_t pack = firstPack + thread % c.width;
    Pack<V> sum = broadcast<V>(0);
    for (int64_t p = threadRow; p < c.pixels && pack < c.packs; p += c.threadRows) {
      const Pack<V> value = load<V>(x + ((sample * c.pixels + p) * c.packs + pack) * V);
#pragma unroll
      for (int k = 0; k < V; ++k) sum[k] += value[k];
    }
#pragma unroll
    for (int k = 0; k < V; ++k) partial[k * threads + thread] = sum[k];
    __syncthreads();
    // A thread for each channel: there are at least as many rows of threads as values in a pack.
    if (thread < c.width * V && firstPack + thread / V < c.packs) {
      float total = 0;
      for (int i = 0; i < c.threadRows; ++i) total += partial[thread % V * threads + i * c.width + thread / V];
      y[(sample * c.packs + firstPack) * V + thread] = total / static_cast<float>(c.pixels);
    }
    __syncthreads();
  }
}

template <class T, int V>
__global__ void globalAvgPoolBackward(const float* dy, T* dx, int64_t samples, int64_t pixels, int64_t packs,
                                      float share) {
  for (int64_t item = firstItem(); item < samples * pixels * packs; item += itemStep()) {
    const int64_t pack = item % packs, sample = item / packs / pixels;
    Pack<V> value = loadFloats<V>(dy + (sample * packs + pack) * V);
#pragma unroll
    for (int k = 0; k < V; ++k) value[k] *= share;
    store<V>(dx + item * V, value);
  }
}

namespace {

PoolWindows windowsOf(const op::Act& large, const op::Act& small, int64_t size, int pack) {
  return {large.n, large.c / pack, large.h, large.w, small.h, small.w, size};
}

float shareOf(int64_t pixels) { return 1.0f / static_cast<float>(pixels); }

}  // namespace

void run(const op::AvgPool2d& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        launchItems(context, o.y.count() / V, avgPool2d<T, V>, windowsOf(o.x, o.y, o.size, V), o.x.values<T>(),
                    o.y.values<T>(), shareOf(o.size * o.size));
      },
      o.x.data, o.y.data);
}

void run(const op::AvgPool2dBackward& o, Context& context) {
  forPacks(
      o.dx.stored, o.dx.c,
      [&]<class T, int V>() {
        launchItems(context, o.dx.count() / V, avgPool2dBackward<T, V>, windowsOf(o.dx, o.dy, o.size, V),
                    o.dy.values<T>(), o.dx.values<T>(), shareOf(o.size * o.size));
      },
      o.dx.data, o.dy.data);
}

// The side without pixels is a matrix, which is always float32.
void run(const op::GlobalAvgPool& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const PoolColumns columns(o.x, V);
        launch(globalAvgPool<T, V>, blocksFor(columns.samples * columns.slabs),
               dim3(static_cast<unsigned>(columns.width * columns.threadRows)), 0, context.stream, columns,
               o.x.values<T>(), o.y.values());
      },
      o.x.data);
}

void run(const op::GlobalAvgPoolBackward& o, Context& context) {
  forPacks(
      o.dx.stored, o.dx.c,
      [&]<class T, int V>() {
        launchItems(context, o.dx.count() / V, globalAvgPoolBackward<T, V>, o.dy.values(), o.dx.values<T>(), o.dx.n,
                    o.dx.pixels(), o.dx.c / V, shareOf(o.dx.pixels()));
      },
      o.dx.data, o.dy.data);
}

}  // namespace kn::cuda
