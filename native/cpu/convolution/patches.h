#pragma once
#include "kernels.h"
#include "vectors.h"

/// What lowered convolutions move between images and the rows of products.
namespace kn::cpu::convolution {
namespace {

/// Calls body for each pixel of a chunk of y's: body(sample, row, column, offset in the chunk).
template <class Body>
inline void eachPixel(const op::Act& y, const Chunk& chunk, const Body& body) {
  int64_t sample = chunk.first / y.pixels(), row = chunk.first % y.pixels() / y.w, column = chunk.first % y.w;
  for (int64_t p = chunk.first; p < chunk.last; ++p) {
    body(sample, row, column, p - chunk.first);
    if (++column < y.w) continue;
    column = 0;
    if (++row < y.h) continue;
    row = 0;
    ++sample;
  }
}

/// Calls body for each tap of a pixel's patch: body(pixels of the first channels there or null where that is outside of
/// the image, first value of the tap in the patch).
template <class Body>
inline void eachTap(const op::Act& x, const Patches& patches, int64_t sample, int64_t row, int64_t column,
                    const Body& body) {
  const op::ConvShape& shape = patches.shape;
  float* image = x.values() + sample * x.c * x.pixels();
  int64_t at = 0;
  for (int64_t i = 0; i < patches.height; ++i) {
    const int64_t y = row * shape.strideH - shape.top + i * shape.dilationH;
    for (int64_t j = 0; j < patches.width; ++j, at += x.c) {
      const int64_t left = column * shape.strideW - shape.left + j * shape.dilationW;
      const bool inside = y >= 0 && y < x.h && left >= 0 && left < x.w;
      body(inside ? image + (y * x.w + left) * kLanes : nullptr, at);
    }
  }
}

template <class V>
void gatherPatches(const op::Act& x, const Patches& patches, const op::Act& y, const Chunk& chunk, float* v) {
  const int64_t length = patches.taps() * x.c, plane = x.pixels();
  eachPixel(y, chunk, [&](int64_t sample, int64_t row, int64_t column, int64_t offset) {
    eachTap(x, patches, sample, row, column, [&](const float* pixel, int64_t at) {
      float* to = v + offset * length + at;
      eachVector<V>(x.c, [&](auto vector, int64_t channel) {
        if (pixel) loadHalves(pixel + channel * plane, plane * kLanes, vector);
        storeVector(to + channel, vector);
      });
    });
  });
}

inline void gatherBlocks(const op::Act& x, const Patches& patches, const op::Act& y, const Chunk& chunk, float* v) {
  const int64_t taps = patches.taps(), plane = x.pixels();
  eachPixel(y, chunk, [&](int64_t sample, int64_t row, int64_t column, int64_t offset) {
    eachTap(x, patches, sample, row, column, [&](const float* pixel, int64_t at) {
      float* to = v + offset * taps * x.c + at / x.c * kLanes;
      for (int64_t channel = 0; channel < x.c; channel += kLanes) {
        storeVector(to + channel * taps, pixel ? loadVector<Float8>(pixel + channel * plane) : Float8{});
      }
    });
  });
}

template <class V>
void addPatches(const float* d, const Patches& patches, const op::Act& y, const Chunk& chunk, const op::Act& dx) {
  const int64_t length = patches.taps() * dx.c, plane = dx.pixels();
  eachPixel(y, chunk, [&](int64_t sample, int64_t row, int64_t column, int64_t offset) {
    eachTap(dx, patches, sample, row, column, [&](float* pixel, int64_t at) {
      if (!pixel) return;
      const float* from = d + offset * length + at;
      eachVector<V>(dx.c, [&](auto vector, int64_t channel) {
        loadHalves(pixel + channel * plane, plane * kLanes, vector);
        storeHalves(pixel + channel * plane, plane * kLanes, vector + loadVector<decltype(vector)>(from + channel));
      });
    });
  });
}

template <class V>
void scatterPixels(const float* m, const Chunk& chunk, const Epilogue& epilogue, const op::Act& y) {
  const int64_t plane = y.pixels();
  eachVector<V>(y.c, [&](auto vector, int64_t channel) {
    using Vector = decltype(vector);
    const Vector shift = epilogue.bias ? loadVector<Vector>(epilogue.bias + channel) : Vector{};
    for (int64_t p = chunk.first; p < chunk.last;) {
      const int64_t sample = p / plane, end = std::min(chunk.last, (sample + 1) * plane);
      float* image = y.values() + (sample * y.c + channel) * plane;
      for (; p < end; ++p) {
        const Vector value = loadVector<Vector>(m + (p - chunk.first) * y.c + channel) + shift;
        storeHalves(image + p % plane * kLanes, plane * kLanes, epilogue.relu ? reluVector(value) : value);
      }
    }
  });
}

}  // namespace
}  // namespace kn::cpu::convolution
