#pragma once
#include "../core/ops/strided.h"
#include "simd.h"

/// Where the values of a tensor lie. An activation is [samples, blocks, pixels, width]: width is 8 where the channels
/// are a multiple of 8 (oneDNN's nChw8c), else the number of channels (NHWC). Kernels walk over groups of up to eight
/// channels, whose pixels are `stride` apart in either layout.
namespace kn::cpu {

inline bool blocked(int64_t channels) { return channels % kLanes == 0; }
inline int64_t groupCount(int64_t channels) { return (channels + kLanes - 1) / kLanes; }

/// The pixels of up to eight channels of one sample.
struct Plane {
  float* data;
  int64_t stride;
  int64_t pixels;
  int valid;  ///< channels present

  bool full() const { return valid == kLanes; }
};

inline Plane plane(const op::Act& act, int64_t sample, int64_t group) {
  float* base = act.values() + sample * act.c * act.pixels();
  if (blocked(act.c)) return {base + group * act.pixels() * kLanes, kLanes, act.pixels(), kLanes};
  const int64_t left = act.c - group * kLanes;
  return {base + group * kLanes, act.c, act.pixels(), static_cast<int>(left < kLanes ? left : kLanes)};
}

/// Physical order of a filter's values: oneDNN's OIhw8i8o where both channel counts are multiples of 8, Ohwi8o where
/// only the outputs are, else row-major.
enum class FilterLayout { OIhw8i8o, Ohwi8o, Oihw };

inline FilterLayout filterLayout(int64_t out, int64_t in) {
  if (out % kLanes) return FilterLayout::Oihw;
  return in % kLanes ? FilterLayout::Ohwi8o : FilterLayout::OIhw8i8o;
}

/// Values of a convolution's filter at [out, in, y, x], as an index into its memory.
inline int64_t filterIndex(const op::Filter& f, int64_t out, int64_t in, int64_t y, int64_t x) {
  switch (filterLayout(f.out, f.in)) {
    case FilterLayout::OIhw8i8o:
      return ((((out / 8 * (f.in / 8) + in / 8) * f.h + y) * f.w + x) * 8 + in % 8) * 8 + out % 8;
    case FilterLayout::Ohwi8o: return (((out / 8 * f.h + y) * f.w + x) * f.in + in) * 8 + out % 8;
    case FilterLayout::Oihw: return ((out * f.in + in) * f.h + y) * f.w + x;
  }
  return 0;
}

/// Where the values of a tensor lie along its axes.
inline op::Axes axesOf(const Shape& shape, Format format) {
  if (shape.rank() != 4 || format == Format::Plain) return op::rowMajorAxes(shape);
  const int64_t c = shape[1], h = shape[2], w = shape[3];
  if (format == Format::Activation) {
    const int64_t width = blocked(c) ? kLanes : c;
    return {op::Axis::of(c * h * w), blocked(c) ? op::Axis{1, h * w * kLanes, 0} : op::Axis::of(1),
            op::Axis::of(w * width), op::Axis::of(width)};
  }
  // One step along each axis, and eight.
  const op::Filter filter{nullptr, shape[0], c, h, w};
  const auto axis = [&](int64_t out, int64_t in, int64_t y, int64_t x) {
    return op::Axis{filterIndex(filter, out, in, y, x), filterIndex(filter, 8 * out, 8 * in, 8 * y, 8 * x), 0};
  };
  return {axis(1, 0, 0, 0), axis(0, 1, 0, 0), axis(0, 0, 1, 0), axis(0, 0, 0, 1)};
}

}  // namespace kn::cpu
