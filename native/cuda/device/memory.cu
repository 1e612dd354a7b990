#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

/// `word`: the value as often as it fits into four bytes.
template <class T>
__global__ void fillValues(T* data, int64_t count, uint32_t word, bool wide) {
  constexpr int64_t values = kWide<T>;
  const int64_t packs = wide ? count / values : 0;
  for (int64_t i = firstItem(); i < packs; i += itemStep()) {
    reinterpret_cast<uint4*>(data)[i] = make_uint4(word, word, word, word);
  }
  for (int64_t i = packs * values + firstItem(); i < count; i += itemStep()) data[i] = static_cast<T>(word);
}

namespace {

template <class T>
void fill(const op::Fill& o, uint32_t word, Context& context) {
  const bool wide = aligned16(o.data);
  const int64_t items = wide ? ceilDivide(o.count, kWide<T>) : o.count;
  launchItems(context, items, fillValues<T>, static_cast<T*>(o.data), o.count, word, wide);
}

constexpr int kTileValues = 1024;
constexpr int kBanks = 32;

__device__ __forceinline__ int least(int most, int64_t left) { return left < most ? static_cast<int>(left) : most; }

}  // namespace

/// Samples of [channels, pixels] float32 values in memory of plain order, [pixels, channels] in the device's. A block
/// takes a tile at a time through shared memory; few channels go with many pixels, so that tiles are of one size.
struct ImageTiling {
  int64_t samples, channels, pixels;
  int64_t channelTiles, pixelTiles;
  int tileChannels, tilePixels;

  ImageTiling(int64_t samples, int64_t channels, int64_t pixels)
      : samples(samples), channels(channels), pixels(pixels), tileChannels(1) {
    while (tileChannels < kBanks && tileChannels < channels) tileChannels *= 2;
    tilePixels = kTileValues / tileChannels;
    channelTiles = ceilDivide(channels, tileChannels);
    pixelTiles = ceilDivide(pixels, tilePixels);
  }
  int64_t tiles() const { return samples * channelTiles * pixelTiles; }
};

/// Either side is accessed along its own neighbours: 4 bytes a thread and value on the plain one, 2 or 4 on the other.
template <class T, bool Upload>
__global__ void transposeImages(ImageTiling t, T* ours, float* plain) {
  KN_SHARED(float, tile, [kTileValues + kBanks]);
  // The distance of two channels puts the channels and pixels of a warp into different banks.
  const int stride = t.tilePixels + kBanks / t.tileChannels;
  const int64_t tiles = t.samples * t.channelTiles * t.pixelTiles;
  for (int64_t task = blockIdx.x; task < tiles; task += gridDim.x) {
    const int64_t pixel = task % t.pixelTiles * t.tilePixels;
    const int64_t channel = task / t.pixelTiles % t.channelTiles * t.tileChannels;
    const int64_t sample = task / t.pixelTiles / t.channelTiles;
    const int channels = least(t.tileChannels, t.channels - channel);
    const int pixels = least(t.tilePixels, t.pixels - pixel);
    T* const at = ours + (sample * t.pixels + pixel) * t.channels + channel;
    float* const plainAt = plain + (sample * t.channels + channel) * t.pixels + pixel;
    for (int i = static_cast<int>(threadIdx.x); i < channels * pixels; i += kItemThreads) {
      if constexpr (Upload) {
        const int c = i / pixels, p = i % pixels;
        tile[c * stride + p] = plainAt[c * t.pixels + p];
      } else {
        const int c = i % channels, p = i / channels;
        tile[c * stride + p] = toFloat(at[p * t.channels + c]);
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < channels * pixels; i += kItemThreads) {
      if constexpr (Upload) {
        const int c = i % channels, p = i / channels;
        at[p * t.channels + c] = fromFloat<T>(tile[c * stride + p]);
      } else {
        const int c = i / pixels, p = i % pixels;
        plainAt[c * t.pixels + p] = tile[c * stride + p];
      }
    }
    __syncthreads();
  }
}

namespace {

template <class T>
void transfer(const ImageTiling& tiling, T* ours, float* plain, bool upload, Context& context) {
  if (upload) {
    launchTasks(context, tiling.tiles(), transposeImages<T, true>, tiling, ours, plain);
  } else {
    launchTasks(context, tiling.tiles(), transposeImages<T, false>, tiling, ours, plain);
  }
}

}  // namespace

void run(const op::Fill& o, Context& context) {
  switch (o.size) {
    case 1: return fill<uint8_t>(o, (o.bits & 0xff) * 0x01010101u, context);
    case 2: return fill<uint16_t>(o, (o.bits & 0xffff) * 0x00010001u, context);
    default: return fill<uint32_t>(o, o.bits, context);
  }
}

void run(const op::Copy& o, Context& context) {
  KN_CUDA_CHECK(cudaMemcpyAsync(o.to, o.from, o.bytes, cudaMemcpyDeviceToDevice, context.stream));
}

/// A filter is to its outputs what a batch is to its samples: KRSC is NHWC.
void run(const op::Transfer& o, Context& context) {
  if (o.format == Format::Filter) {
    const op::Filter& f = o.filter;
    return transfer(ImageTiling(f.out, f.in, f.h * f.w), f.data, o.plain, o.upload, context);
  }
  forType(o.act.stored, [&]<class T>() {
    transfer(ImageTiling(o.act.n, o.act.c, o.act.pixels()), o.act.values<T>(), o.plain, o.upload, context);
  });
}

}  // namespace kn::cuda
