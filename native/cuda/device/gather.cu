#include <cmath>

#include "grid.cuh"
#include "kernels.h"
#include "philox.cuh"

/// A byte of the set and four of the mean are read for each value written; the mean stays in the caches.
namespace kn::cuda {
namespace {

constexpr int64_t kChunk = 2048;  ///< values of a sample that a block takes at a time

/// Where a sample's crop lies on the canvas, whose image begins at [pad, pad], and its square of zeros in the result.
struct Crop {
  int64_t row, column;
  bool flip;
  int64_t top, left;
};

__device__ __forceinline__ Crop drawCrop(const op::Gather& o, int64_t sample) {
  if (!o.augment) return {o.pad, o.pad, false, 0, 0};
  const int32_t* state = o.random.state;
  const uint4 words =
      philox(make_uint4(static_cast<uint32_t>(sample), o.random.stream, static_cast<uint32_t>(state[2]), 0),
             make_uint2(static_cast<uint32_t>(state[0]), static_cast<uint32_t>(state[1])));
  const auto range = static_cast<uint64_t>(2 * o.pad);
  return {static_cast<int64_t>(words.x * range >> 32), static_cast<int64_t>(words.y * range >> 32), words.z >> 31 != 0,
          (static_cast<int64_t>(words.w >> 16) * o.x.h >> 16) - o.cutout / 2,
          (static_cast<int64_t>(words.w & 0xffff) * o.x.w >> 16) - o.cutout / 2};
}

/// The image of the set that a sample of the batch is, or -1 where the cursor or the index is outside.
__device__ __forceinline__ int64_t imageOf(const op::Gather& o, int64_t sample) {
  const int64_t at = static_cast<int64_t>(*o.cursor) * o.x.n + sample;
  if (at < 0 || at >= o.indexCount) return -1;
  const int64_t image = o.indices[at];
  return image >= 0 && image < o.imageCount ? image : -1;
}

__device__ __forceinline__ float valueOf(const op::Gather& o, const uint8_t* image, const Crop& crop, int64_t channel,
                                         int64_t pixel) {
  const int64_t y = pixel / o.x.w, x = pixel % o.x.w;
  if (y >= crop.top && y < crop.top + o.cutout && x >= crop.left && x < crop.left + o.cutout) return 0;
  const int64_t row = y + crop.row - o.pad;
  const int64_t column = (crop.flip ? o.x.w - 1 - x : x) + crop.column - o.pad;
  const int64_t plane = channel * o.x.h * o.x.w;
  const bool inside = row >= 0 && row < o.x.h && column >= 0 && column < o.x.w;
  const float raw = inside ? image[plane + row * o.x.w + column] : 0;
  return o.scale * (raw - o.mean[plane + pixel]);
}

}  // namespace

/// Every thread draws its sample's crop, which costs less than a barrier.
template <class T>
__global__ void gatherImages(op::Gather o, T* x, int64_t chunks) {
  const int64_t pixels = o.x.h * o.x.w, values = o.x.c * pixels;
  const bool plain = o.x.format == Format::Plain;
  for (int64_t task = blockIdx.x; task < o.x.n * chunks; task += gridDim.x) {
    const int64_t sample = task / chunks, begin = task % chunks * kChunk;
    const int64_t end = begin + kChunk < values ? begin + kChunk : values;
    const int64_t image = imageOf(o, sample);
    const Crop crop = drawCrop(o, o.first + sample);
    if (begin == 0 && threadIdx.x == 0) o.y[sample] = image < 0 ? -1 : o.labels[image];
    for (int64_t i = begin + static_cast<int64_t>(threadIdx.x); i < end; i += kItemThreads) {
      const int64_t channel = plain ? i / pixels : i % o.x.c, pixel = plain ? i % pixels : i / o.x.c;
      // Without an image there is no data: the loss shall show it.
      const float value = image < 0 ? NAN : valueOf(o, o.images + image * values, crop, channel, pixel);
      x[sample * values + i] = fromFloat<T>(value);
    }
  }
}

void run(const op::Gather& o, Context& context) {
  const int64_t chunks = ceilDivide(o.x.c * o.x.pixels(), kChunk);
  forType(o.x.stored,
          [&]<class T>() { launchTasks(context, o.x.n * chunks, gatherImages<T>, o, o.x.values<T>(), chunks); });
}

}  // namespace kn::cuda
