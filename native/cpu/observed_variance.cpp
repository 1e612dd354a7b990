#include <algorithm>
#include <vector>

#include "kernels.h"
#include "planes.h"
#include "tensor_list.h"

namespace kn::cpu {
namespace {

/// A filter's memory as blocks of outputs, eight of them or one, whose rows have a value for each output of the block.
struct Rows {
  FilterLayout layout;
  int64_t in, taps, lanes, blocks;

  explicit Rows(const op::Filter& w)
      : layout(filterLayout(w.out, w.in)),
        in(w.in),
        taps(w.h * w.w),
        lanes(layout == FilterLayout::Oihw ? 1 : kLanes),
        blocks(w.out / lanes) {}

  int64_t rows() const { return in * taps; }
  /// The input channel of a row.
  int64_t input(int64_t row) const {
    switch (layout) {
      case FilterLayout::OIhw8i8o: return row / (8 * taps) * 8 + row % 8;
      case FilterLayout::Ohwi8o: return row % in;
      case FilterLayout::Oihw: return row / taps;
    }
    return 0;
  }
};

/// dw of a block of outputs and, for each input channel, Σ dw·w over its taps.
template <bool Full>
void backwardBlock(const op::ObservedVarianceBackward& o, const Rows& rows, int64_t block, Float8* sums) {
  const int lanes = static_cast<int>(rows.lanes);
  Float8 scale = {};
  for (int i = 0; i < lanes; ++i) scale[i] = o.scale(block * lanes + i);
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const int64_t at = (block * rows.rows() + row) * lanes;
    const Float8 gradient = scale * load<Full>(o.shown.slope + at, lanes);
    store<Full>(o.dw.data + at, gradient, lanes);
    sums[rows.input(row)] += gradient * load<Full>(o.w.data + at, lanes);
  }
}

}  // namespace

void run(const op::CenterObserved& o, Context&) {
  const int64_t channels = o.y.c, groups = groupCount(channels);
  std::vector<float> mean(channels), var(channels);
  computeMoments(o.y, 1, mean.data(), var.data());
  const float share = averageShare(o.share, o.warmUp, *o.updates);
  float *const center = o.next, *const variance = o.next + channels;
  for (int64_t c = 0; c < channels; ++c) {
    center[c] = o.center[c] + share * (mean[c] - o.center[c]);
    const float off = mean[c] - center[c];
    variance[c] = o.variance[c] + share * (var[c] + off * off - o.variance[c]);
  }
  o.next[2 * channels] = share;
  parallelFor(o.y.n * groups, [&](int64_t i) {
    const Plane y = plane(o.y, i / groups, i % groups);
    const Affine8 affine{loadVector(center, i % groups * kLanes, y.valid), broadcast(1), Float8{}};
    applyPlane(y, plane(o.centered, i / groups, i % groups), affine, false);
  });
}

void run(const op::AverageObserved& o, Context&) {
  const float *const center = o.next, *const variance = center + o.channels, share = o.next[2 * o.channels];
  const float* __restrict products = o.products.values();
  float* __restrict slope = o.slope;
  parallelRanges(o.products.count, kListGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) slope[i] += share * (o.scale * products[i] - slope[i]);
  });
  std::copy(center, center + o.channels, o.center);
  std::copy(variance, variance + o.channels, o.variance);
  // Unsigned, so that a counter that overflows wraps around.
  *o.updates = static_cast<int32_t>(static_cast<uint32_t>(*o.updates) + 1);
}

void run(const op::ObservedVarianceBackward& o, Context&) {
  const Rows rows(o.w);
  std::vector<Float8> sums(rows.blocks * rows.in);
  parallelFor(rows.blocks, [&](int64_t block) {
    Float8* const mine = sums.data() + block * rows.in;
    rows.lanes == kLanes ? backwardBlock<true>(o, rows, block, mine) : backwardBlock<false>(o, rows, block, mine);
  });
  const int64_t outputs = o.w.out / o.groups;  // of a group
  std::vector<double> totals(o.groups * rows.in);
  for (int64_t out = 0; out < o.w.out; ++out) {
    const Float8* const block = sums.data() + out / rows.lanes * rows.in;
    double* const group = totals.data() + out / outputs * rows.in;
    for (int64_t i = 0; i < rows.in; ++i) group[i] += block[i][out % rows.lanes];
  }
  for (int64_t i = 0; i < o.groups * rows.in; ++i) o.finish(i, totals[i]);
}

}  // namespace kn::cpu
