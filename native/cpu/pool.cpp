#include <algorithm>

#include "kernels.h"
#include "layout.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

/// Calls body.template operator()<Full>(x's plane, y's plane) for every sample and group of channels.
template <class Body>
void forPlanes(const op::Act& x, const op::Act& y, const Body& body) {
  const int64_t groups = groupCount(x.c);
  parallelFor(x.n * groups, [&](int64_t task) {
    const Plane from = plane(x, task / groups, task % groups), to = plane(y, task / groups, task % groups);
    if (from.full()) {
      body.template operator()<true>(from, to);
    } else {
      body.template operator()<false>(from, to);
    }
  });
}

}  // namespace

void run(const op::AvgPool2d& o, Context&) {
  const Float8 share = broadcast(1.0f / static_cast<float>(o.size * o.size));
  forPlanes(o.x, o.y, [&]<bool Full>(const Plane& x, const Plane& y) {
    for (int64_t row = 0; row < o.y.h; ++row) {
      for (int64_t column = 0; column < o.y.w; ++column) {
        Float8 sum = {};
        for (int64_t i = 0; i < o.size; ++i) {
          const float* in = x.data + ((row * o.size + i) * o.x.w + column * o.size) * x.stride;
          for (int64_t j = 0; j < o.size; ++j) sum += load<Full>(in + j * x.stride, x.valid);
        }
        store<Full>(y.data + (row * o.y.w + column) * y.stride, sum * share, y.valid);
      }
    }
  });
}

void run(const op::AvgPool2dBackward& o, Context&) {
  const Float8 share = broadcast(1.0f / static_cast<float>(o.size * o.size));
  const bool drops = o.dy.h * o.size < o.dx.h || o.dy.w * o.size < o.dx.w;
  forPlanes(o.dx, o.dy, [&]<bool Full>(const Plane& dx, const Plane& dy) {
    for (int64_t p = 0; drops && p < dx.pixels; ++p) store<Full>(dx.data + p * dx.stride, Float8{}, dx.valid);
    for (int64_t row = 0; row < o.dy.h; ++row) {
      for (int64_t column = 0; column < o.dy.w; ++column) {
        const Float8 value = share * load<Full>(dy.data + (row * o.dy.w + column) * dy.stride, dy.valid);
        for (int64_t i = 0; i < o.size; ++i) {
          float* out = dx.data + ((row * o.size + i) * o.dx.w + column * o.size) * dx.stride;
          for (int64_t j = 0; j < o.size; ++j) store<Full>(out + j * dx.stride, value, dx.valid);
        }
      }
    }
  });
}

void run(const op::GlobalAvgPool& o, Context&) {
  forPlanes(o.x, o.y, [&]<bool Full>(const Plane& x, const Plane& y) {
    Double8 sum;
    for (int64_t p = 0; p < x.pixels; ++p) sum.add(load<Full>(x.data + p * x.stride, x.valid));
    for (int lane = 0; lane < y.valid; ++lane) {
      y.data[lane] = static_cast<float>(sum[lane] / static_cast<double>(x.pixels));
    }
  });
}

void run(const op::GlobalAvgPoolBackward& o, Context&) {
  const Float8 share = broadcast(1.0f / static_cast<float>(o.dx.pixels()));
  forPlanes(o.dx, o.dy, [&]<bool Full>(const Plane& dx, const Plane& dy) {
    const Float8 value = share * load<Full>(dy.data, dy.valid);
    for (int64_t p = 0; p < dx.pixels; ++p) store<Full>(dx.data + p * dx.stride, value, dx.valid);
  });
}

}  // namespace kn::cpu
