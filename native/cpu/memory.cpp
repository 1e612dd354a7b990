#include <algorithm>
#include <cstring>

#include "kernels.h"
#include "layout.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes or values of one task

/// Moves one sample's group of channels between rows of the host and the plane.
void transferPlane(const Plane& plane, float* host, bool upload) {
  for (int lane = 0; lane < plane.valid; ++lane) {
    float* device = plane.data + lane;
    float* row = host + lane * plane.pixels;
    if (upload) {
      for (int64_t p = 0; p < plane.pixels; ++p) device[p * plane.stride] = row[p];
    } else {
      for (int64_t p = 0; p < plane.pixels; ++p) row[p] = device[p * plane.stride];
    }
  }
}

void transferActivation(const op::Act& act, float* host, bool upload) {
  const int64_t groups = groupCount(act.c);
  parallelFor(act.n * groups, [&](int64_t task) {
    const int64_t sample = task / groups, group = task % groups;
    transferPlane(plane(act, sample, group), host + (sample * act.c + group * kLanes) * act.pixels(), upload);
  });
}

void transferFilter(const op::Filter& f, float* host, bool upload) {
  parallelFor(f.out, [&](int64_t out) {
    float* row = host + out * f.in * f.h * f.w;
    for (int64_t in = 0; in < f.in; ++in) {
      for (int64_t y = 0; y < f.h; ++y) {
        for (int64_t x = 0; x < f.w; ++x, ++row) {
          float& value = f.data[filterIndex(f, out, in, y, x)];
          (upload ? value : *row) = upload ? *row : value;
        }
      }
    }
  });
}

}  // namespace

void run(const op::Fill& o, Context&) {
  parallelRanges(o.count, kGrain, [&](int64_t begin, int64_t end) {
    if (o.size == 1) {
      std::memset(static_cast<uint8_t*>(o.data) + begin, static_cast<int>(o.bits & 0xff), end - begin);
    } else {
      std::fill(static_cast<uint32_t*>(o.data) + begin, static_cast<uint32_t*>(o.data) + end, o.bits);
    }
  });
}

void run(const op::Copy& o, Context&) {
  parallelRanges(static_cast<int64_t>(o.bytes), kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(o.to) + begin, static_cast<const char*>(o.from) + begin, end - begin);
  });
}

void run(const op::Transfer& o, Context&) {
  if (o.format == Format::Filter) {
    transferFilter(o.filter, o.plain, o.upload);
  } else {
    transferActivation(o.act, o.plain, o.upload);
  }
}

}  // namespace kn::cpu
