#pragma once
#include "kernels.h"
#include "vectors.h"

/// What lowered convolutions move between images and the rows of products.
namespace kn::cpu::convolution {
namespace {

/// Sixteen channels of a pixel lie in two groups, `group` floats apart.
inline void loadPixel(const float* at, int64_t, Float8& value) { value = loadVector<Float8>(at); }
inline void storePixel(float* at, int64_t, Float8 value) { storeVector(at, value); }
#ifdef __AVX512F__
inline void loadPixel(const float* at, int64_t group, Float16& value) {
  value = __builtin_shufflevector(loadVector<Float8>(at), loadVector<Float8>(at + group), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
                                  10, 11, 12, 13, 14, 15);
}
inline void storePixel(float* at, int64_t group, Float16 value) {
  storeVector(at, __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7));
  storeVector(at + group, __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

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
        if (pixel) loadPixel(pixel + channel * plane, plane * kLanes, vector);
        storeVector(to + channel, vector);
      });
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
        loadPixel(pixel + channel * plane, plane * kLanes, vector);
        storePixel(pixel + channel * plane, plane * kLanes, vector + loadVector<decltype(vector)>(from + channel));
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
        storePixel(image + p % plane * kLanes, plane * kLanes, epilogue.relu ? reluVector(value) : value);
      }
    }
  });
}

}  // namespace
}  // namespace kn::cpu::convolution
