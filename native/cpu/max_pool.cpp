#include <algorithm>

#include "kernels.h"
#include "layout.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

/// Eight channels of a window: their largest values, and where these lie within the plane.
struct Largest {
  Float8 value;
  Int8x32 pixel;
};

/// The pixels [from, to) of the image that a window's extent along one axis covers.
struct Extent {
  int64_t from, to;

  Extent(int64_t start, int64_t window, int64_t size)
      : from(std::max<int64_t>(start, 0)), to(std::min(start + window, size)) {}
};

/// The first largest of a window at [row, column], where a NaN is larger than any number.
template <bool Full>
Largest largestOf(const Plane& x, const op::Act& act, const op::MaxWindows& windows, int64_t row, int64_t column) {
  const op::ConvShape& shape = windows.shape;
  const Extent rows(row * shape.strideH - shape.top, windows.height, act.h);
  const Extent columns(column * shape.strideW - shape.left, windows.width, act.w);
  const int64_t first = rows.from * act.w + columns.from;
  Largest best{load<Full>(x.data + first * x.stride, x.valid), Int8x32{} + static_cast<int32_t>(first)};
  for (int64_t i = rows.from; i < rows.to; ++i) {
    for (int64_t j = columns.from; j < columns.to; ++j) {
      const int64_t pixel = i * act.w + j;
      const Float8 value = load<Full>(x.data + pixel * x.stride, x.valid);
      const Int8x32 larger = (value > best.value) | ((value != value) & (best.value == best.value));
      best.value = larger ? value : best.value;
      best.pixel = larger ? Int8x32{} + static_cast<int32_t>(pixel) : best.pixel;
    }
  }
  return best;
}

/// Calls body.template operator()<Full>(sample, group) for all groups of channels of all samples.
template <class Body>
void forGroups(const op::Act& x, const Body& body) {
  const int64_t groups = groupCount(x.c);
  parallelFor(x.n * groups, [&](int64_t task) {
    const int64_t sample = task / groups, group = task % groups;
    if (plane(x, sample, group).full()) {
      body.template operator()<true>(sample, group);
    } else {
      body.template operator()<false>(sample, group);
    }
  });
}

}  // namespace

void run(const op::MaxPool2d& o, Context&) {
  forGroups(o.x, [&]<bool Full>(int64_t sample, int64_t group) {
    const Plane x = plane(o.x, sample, group), y = plane(o.y, sample, group);
    for (int64_t row = 0; row < o.y.h; ++row) {
      for (int64_t column = 0; column < o.y.w; ++column) {
        const Largest best = largestOf<Full>(x, o.x, o.windows, row, column);
        store<Full>(y.data + (row * o.y.w + column) * y.stride, best.value, y.valid);
      }
    }
  });
}

/// The windows are searched again, which costs less than storing where their largest values are.
void run(const op::MaxPool2dBackward& o, Context&) {
  forGroups(o.x, [&]<bool Full>(int64_t sample, int64_t group) {
    const Plane x = plane(o.x, sample, group), dy = plane(o.dy, sample, group), dx = plane(o.dx, sample, group);
    for (int64_t p = 0; p < dx.pixels; ++p) store<Full>(dx.data + p * dx.stride, Float8{}, dx.valid);
    for (int64_t row = 0; row < o.dy.h; ++row) {
      for (int64_t column = 0; column < o.dy.w; ++column) {
        const Largest best = largestOf<Full>(x, o.x, o.windows, row, column);
        const float* gradient = dy.data + (row * o.dy.w + column) * dy.stride;
        for (int lane = 0; lane < dx.valid; ++lane) dx.data[best.pixel[lane] * dx.stride + lane] += gradient[lane];
      }
    }
  });
}

}  // namespace kn::cpu
