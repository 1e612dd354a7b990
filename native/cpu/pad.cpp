#include <algorithm>

#include "kernels.h"
#include "layout.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

/// One channel of one sample.
struct Channel {
  float* data;
  int64_t stride;
};

Channel channel(const op::Act& act, int64_t sample, int64_t index) {
  const Plane group = plane(act, sample, index / kLanes);
  return {group.data + index % kLanes, group.stride};
}

/// Whether padding moves whole blocks of eight channels.
bool movesBlocks(const op::Act& narrow, const op::Act& wide, int64_t before) {
  return blocked(narrow.c) && blocked(wide.c) && before % kLanes == 0;
}

/// Where value i of a narrow belief lies in the wide one.
template <class Belief>
int64_t widePosition(const Belief& o, int64_t i) {
  if (!o.aligned) return o.splits * o.before + i;
  return i / o.channels * (o.before + o.channels + o.after) + o.before + i % o.channels;
}

}  // namespace

void run(const op::PadChannels& o, Context&) {
  const int64_t pixels = o.x.pixels();
  if (movesBlocks(o.x, o.y, o.before)) {
    parallelFor(o.x.n, [&](int64_t n) {
      float* y = o.y.values() + n * o.y.c * pixels;
      float* behind = y + (o.before + o.x.c) * pixels;
      std::fill_n(y, o.before * pixels, 0.0f);
      std::copy_n(o.x.values() + n * o.x.c * pixels, o.x.c * pixels, y + o.before * pixels);
      std::fill_n(behind, (o.y.c - o.before - o.x.c) * pixels, 0.0f);
    });
    return;
  }
  parallelFor(o.x.n, [&](int64_t n) {
    for (int64_t c = 0; c < o.y.c; ++c) {
      const Channel y = channel(o.y, n, c);
      if (c < o.before || c >= o.before + o.x.c) {
        for (int64_t p = 0; p < pixels; ++p) y.data[p * y.stride] = 0;
      } else {
        const Channel x = channel(o.x, n, c - o.before);
        for (int64_t p = 0; p < pixels; ++p) y.data[p * y.stride] = x.data[p * x.stride];
      }
    }
  });
}

void run(const op::PadChannelsBackward& o, Context&) {
  const int64_t pixels = o.dx.pixels();
  if (movesBlocks(o.dx, o.dy, o.before)) {
    parallelFor(o.dx.n, [&](int64_t n) {
      const float* dy = o.dy.values() + (n * o.dy.c + o.before) * pixels;
      std::copy_n(dy, o.dx.c * pixels, o.dx.values() + n * o.dx.c * pixels);
    });
    return;
  }
  parallelFor(o.dx.n, [&](int64_t n) {
    for (int64_t c = 0; c < o.dx.c; ++c) {
      const Channel dx = channel(o.dx, n, c), dy = channel(o.dy, n, o.before + c);
      for (int64_t p = 0; p < pixels; ++p) dx.data[p * dx.stride] = dy.data[p * dy.stride];
    }
  });
}

// Beliefs are vectors of a few thousand values: one thread is enough.
void run(const op::PadBelief& o, Context&) {
  std::fill_n(o.y, o.splits * (o.before + o.channels + o.after), 0.0f);
  for (int64_t i = 0; i < o.splits * o.channels; ++i) o.y[widePosition(o, i)] = o.x[i];
}

void run(const op::PadBeliefBackward& o, Context&) {
  for (int64_t i = 0; i < o.splits * o.channels; ++i) o.dx[i] = o.dy[widePosition(o, i)];
}

}  // namespace kn::cpu
