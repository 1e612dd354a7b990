#include "lowered.h"

#include "../layout.h"
#include "../parallel.h"
#include "driver.h"

namespace kn::cpu {
namespace {

using namespace convolution;

Patches patchesOf(const op::Filter& w, const op::ConvShape& shape) { return {w.h, w.w, shape}; }

/// Filters as the columns of a product, from the values of a patch to outputs.
const float* packColumns(const op::Filter& w) {
  const int64_t taps = w.h * w.w;
  const Packed packed{taps * w.in, w.out / kLanes};
  float* u = scratch(Scratch::Filters, packed.offset(1, 0));
  const auto body = [&](int64_t vector) {
    float* to = u + packed.column(vector);
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t c = 0; c < w.in; ++c, to += packed.step(vector)) {
        storeFull(to, loadFull(w.data + filterIndex(w, vector * kLanes, c, tap / w.w, tap % w.w)));
      }
    }
  };
  parallelFor(packed.vectors, body, w.count());
  return u;
}

/// Filters as the columns of a product, from outputs to the values of a patch.
const float* packRows(const op::Filter& w) {
  const int64_t taps = w.h * w.w;
  const Packed packed{w.out, taps * w.in / kLanes};
  float* u = scratch(Scratch::Filters, packed.offset(1, 0));
  const auto body = [&](int64_t vector) {
    const int64_t tap = vector * kLanes / w.in, c = vector * kLanes % w.in;
    float* to = u + packed.column(vector);
    for (int64_t k = 0; k < w.out; ++k, to += packed.step(vector)) {
      for (int64_t i = 0; i < kLanes; ++i) to[i] = w.data[filterIndex(w, k, c + i, tap / w.w, tap % w.w)];
    }
  };
  parallelFor(packed.vectors, body, 2 * w.count());
  return u;
}

}  // namespace

bool loweredPays(const op::Act& x, const op::Filter& w, const op::ConvShape& shape) {
  return wideKernels() && x.format == Format::Activation && shape.groups == 1 && w.in % kLanes == 0 &&
         w.out % kLanes == 0 && w.in >= 16 && w.out >= 16;
}

void loweredForward(const op::Conv2d& o) {
  const Patches patches = patchesOf(o.w, o.shape);
  const Packed packed{patches.taps() * o.x.c, o.y.c / kLanes};
  const float* u = packColumns(o.w);
  const Chunks chunks{o.y.n * o.y.pixels(), chunkLength(packed.in + o.y.c, kCachedBytes, 4 * kRows)};
  parallelFor(chunks.count(), [&](int64_t index) {
    const Chunk chunk = chunks[index];
    float* v = scratch(Scratch::Values, chunk.length * packed.in);
    float* m = scratch(Scratch::Products, chunk.length * o.y.c);
    kernels().gatherPatches(o.x, patches, o.y, chunk, v);
    kernels().multiply(v, u, packed, chunk.rows(), m);
    kernels().scatterPixels(m, chunk, {o.bias, o.relu}, o.y);
  });
}

void loweredBackwardData(const op::Conv2dBackwardData& o) {
  const Patches patches = patchesOf(o.w, o.shape);
  const Packed packed{o.dy.c, patches.taps() * o.dx.c / kLanes};
  const float* u = packRows(o.w);
  const int64_t out = packed.vectors * kLanes;
  const Chunks chunks{o.dy.pixels(), chunkLength(packed.in + out, kCachedBytes, 4 * kRows)};
  const op::ConvShape& shape = o.shape;
  const bool same = o.dx.h == o.dy.h && o.dx.w == o.dy.w && shape.top == 0 && shape.left == 0;
  const bool alone = patches.taps() == 1 && shape.strideH == 1 && shape.strideW == 1 && same;  // a pixel is a patch
  // A sample is one task: its patches may overlap.
  parallelFor(o.dy.n, [&](int64_t sample) {
    const op::Act dy = o.dy.samples(sample, 1), dx = o.dx.samples(sample, 1);
    float* v = scratch(Scratch::Values, chunks.length * packed.in);
    float* m = scratch(Scratch::Products, chunks.length * out);
    if (!alone) std::fill_n(dx.values(), dx.count(), 0.0f);
    for (int64_t index = 0; index < chunks.count(); ++index) {
      const Chunk chunk = chunks[index];
      kernels().gatherPatches(dy, kPixel, dy, chunk, v);
      kernels().multiply(v, u, packed, chunk.rows(), m);
      alone ? kernels().scatterPixels(m, chunk, {}, dx) : kernels().addPatches(m, patches, dy, chunk, dx);
    }
  });
}

void loweredBackwardWeights(const op::Conv2dBackwardWeights& o) {
  const Patches patches = patchesOf(o.dw, o.shape);
  const int64_t in = patches.taps() * o.x.c, out = o.dy.c;
  // The longest chunks: each is a pass over all sums.
  const Chunks chunks{o.dy.n * o.dy.pixels(), kMostRows};
  const PartSums sums(chunks.count(), in, out);
  parallelFor(sums.tasks(), [&](int64_t i) {
    const PartSums::Task task = sums.task(i);
    float* v = scratch(Scratch::Values, chunks.length * in);
    float* d = scratch(Scratch::Products, chunks.length * out);
    for (int64_t index = task.first; index < task.last; ++index) {
      const Chunk chunk = chunks[index];
      kernels().gatherPatches(o.x, patches, o.dy, chunk, v);
      kernels().gatherPatches(o.dy, kPixel, o.dy, chunk, d);
      kernels().accumulate(v, in, d + task.column, task.width, out, chunk.rows(), task.sums);
    }
  });
  const auto finish = [&](int64_t row) {
    const int64_t tap = row / o.x.c, c = row % o.x.c;
    for (int64_t k = 0; k < out; k += kLanes) {
      storeFull(o.dw.data + filterIndex(o.dw, k, c, tap / o.dw.w, tap % o.dw.w), sums.total(row, k));
    }
  };
  parallelFor(in, finish, sums.timeOfTotals());
}

}  // namespace kn::cpu
