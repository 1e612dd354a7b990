#pragma once
#include <cstring>
#include <map>
#include <type_traits>
#include <vector>

#include "../core/ops/rectified.h"
#include "kernels.h"
#include "layout.h"
#include "parallel.h"

/// The analytic transition. With a[c] independent over positions, of mean α and variance β, a convolution's output at a
/// position has mean Σ α·A and variance Σ β·B, where A and B sum w and w² over the taps that lie on the image there.
/// The expected biased variance over the positions is then: mean of the variances, plus variance of the means, minus
/// the variance of the spatial mean, to which each input contributes by the taps that see it. Positions with the same
/// taps (nine kinds for a 3 x 3 filter of stride 1) are treated as one.
namespace kn::cpu {

/// Positions along an axis that see (or are seen by) the same taps.
struct Kind {
  uint32_t taps;
  int64_t count;
};

struct AxisKinds {
  std::vector<Kind> outputs, inputs;
  int64_t outputCount;
};

inline std::vector<Kind> collect(const std::vector<uint32_t>& masks) {
  std::map<uint32_t, int64_t> counts;
  for (uint32_t mask : masks) ++counts[mask];
  std::vector<Kind> kinds;
  kinds.reserve(counts.size());
  for (const auto& [taps, count] : counts) kinds.push_back({taps, count});
  return kinds;
}

inline AxisKinds axisKinds(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after) {
  const int64_t outputs = (size + before + after - kernel) / stride + 1;
  std::vector<uint32_t> seen(outputs), seeing(size);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < kernel; ++k) {
      const int64_t i = o * stride - before + k;
      if (i < 0 || i >= size) continue;
      seen[o] |= 1u << k;
      seeing[i] |= 1u << k;
    }
  }
  return {collect(seen), collect(seeing), outputs};
}

/// A set of taps of the filter, and the share of positions that have it.
struct TapSet {
  std::vector<int64_t> taps;
  double weight;
};

inline std::vector<TapSet> product(const std::vector<Kind>& rows, const std::vector<Kind>& columns, int64_t kernelWidth,
                                   double total) {
  std::vector<TapSet> sets;
  for (const Kind& row : rows) {
    for (const Kind& column : columns) {
      TapSet set{{}, static_cast<double>(row.count) * column.count / total};
      for (int64_t y = 0; y < 32; ++y) {
        for (int64_t x = 0; x < 32; ++x) {
          if (row.taps >> y & 1 && column.taps >> x & 1) set.taps.push_back(y * kernelWidth + x);
        }
      }
      sets.push_back(set);
    }
  }
  return sets;
}

/// What sees what, of a convolution of images of one size.
struct Geometry {
  int64_t taps;
  std::vector<TapSet> outputs, inputs;  ///< weights: share of the outputs; count / outputs²
  std::vector<float> shares;            ///< of each tap: how many of the outputs see it

  template <class Transition>
  explicit Geometry(const Transition& o) : taps(o.w.h * o.w.w), shares(taps) {
    const op::ConvShape& shape = o.shape;
    const AxisKinds rows = axisKinds(o.height, o.w.h, shape.strideH, shape.top, shape.bottom);
    const AxisKinds columns = axisKinds(o.width, o.w.w, shape.strideW, shape.left, shape.right);
    const double positions = static_cast<double>(rows.outputCount) * columns.outputCount;
    outputs = product(rows.outputs, columns.outputs, o.w.w, positions);
    // What a sample's own spatial mean takes from its variance.
    if (!o.population) inputs = product(rows.inputs, columns.inputs, o.w.w, positions * positions);
    for (const TapSet& set : outputs) {
      for (int64_t t : set.taps) shares[t] += static_cast<float>(set.weight);
    }
  }
};

/// About what one thread takes: for a rectified Gaussian, and for the passes over a filter.
constexpr int64_t kNanosecondsPerRectified = 50;

template <class Transition>
int64_t workOf(const Transition& o) {
  return o.w.count() * (o.splits + 1) / 8;
}

/// Room for a value of each tap, on the stack: of as many as there are, where that is a constant.
template <class Taps>
constexpr int64_t kRoom = 32 * 32;
template <int64_t taps>
constexpr int64_t kRoom<std::integral_constant<int64_t, taps>> = taps;

/// Outputs that lie side by side in a filter's memory are worked off together: V is Float8, or float where they don't.
template <class V>
constexpr int64_t kWidth = sizeof(V) / sizeof(float);

template <class V>
V loadColumn(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
void storeColumn(float* p, const V& v) {
  std::memcpy(p, &v, sizeof v);
}

inline float sumOfLanes(float v) { return v; }
inline float sumOfLanes(Float8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

/// The taps of a filter for outputs o, o + 1, ... and input c lie at at(o, c) + t·step.
struct Columns {
  const op::Filter& f;
  int64_t step;
  int64_t inputStep;  ///< to the next of eight inputs from a multiple of eight on

  explicit Columns(const op::Filter& filter)
      : f(filter),
        step(f.w > 1 ? filterIndex(f, 0, 0, 0, 1) : filterIndex(f, 0, 0, 1, 0)),
        inputStep(filterIndex(f, 0, 1, 0, 0)) {}

  float* at(int64_t o, int64_t c) const { return f.data + filterIndex(f, o, c, 0, 0); }
};

/// body(V{}, taps) with the type of a column and, where they are of the usual numbers, the taps as a constant.
template <class Body>
void specialized(const op::Filter& f, const Body& body) {
  const int64_t taps = f.h * f.w;
  if (!blocked(f.out)) {
    body(float{}, taps);
  } else if (taps == 1) {
    body(Float8{}, std::integral_constant<int64_t, 1>{});
  } else if (taps == 9) {
    body(Float8{}, std::integral_constant<int64_t, 9>{});
  } else {
    body(Float8{}, taps);
  }
}

/// What an input's variance is multiplied by: the squares of the taps, less those of what sees a pixel together.
template <class V, class Taps>
V spreadOf(const Geometry& geometry, const float* column, int64_t step, Taps taps) {
  V spread = {};
  for (int64_t t = 0; t < taps; ++t) {
    const V w = loadColumn<V>(column + t * step);
    spread += geometry.shares[t] * w * w;
  }
  for (const TapSet& set : geometry.inputs) {
    V sum = {};
    for (int64_t t : set.taps) sum += loadColumn<V>(column + t * step);
    spread -= static_cast<float>(set.weight) * sum * sum;
  }
  return spread;
}

/// The mean that each tap contributes to outputs o, o + 1, ...
template <class V, class Taps>
void meansOfTaps(const Columns& w, int64_t o, const float* mean, Taps taps, V* means) {
  V sums[kRoom<Taps>];
  for (int64_t t = 0; t < taps; ++t) sums[t] = V{};
  for (int64_t c = 0; c < w.f.in; ++c) {
    const float* column = w.at(o, c);
    for (int64_t t = 0; t < taps; ++t) sums[t] += mean[c] * loadColumn<V>(column + t * w.step);
  }
  for (int64_t t = 0; t < taps; ++t) means[t] = sums[t];
}

/// Of each kind of position how far its mean is from the mean of all, which is returned.
template <class V>
V deviations(const Geometry& geometry, const V* means, V* out) {
  V mean = {};
  for (size_t k = 0; k < geometry.outputs.size(); ++k) {
    out[k] = V{};
    for (int64_t t : geometry.outputs[k].taps) out[k] += means[t];
    mean += static_cast<float>(geometry.outputs[k].weight) * out[k];
  }
  for (size_t k = 0; k < geometry.outputs.size(); ++k) out[k] -= mean;
  return mean;
}

/// The moments of the inputs, [splits, in], and their derivatives.
struct Inputs {
  std::vector<float> mean, var;
  std::vector<Rectified> moments;

  template <class Transition>
  explicit Inputs(const Transition& o) : mean(o.splits * o.w.in), var(mean.size()), moments(mean.size()) {
    parallelFor(
        o.splits,
        [&](int64_t s) {
          for (int64_t i = s * o.w.in; i < (s + 1) * o.w.in; ++i) {
            moments[i] = inputMoments(o.mean[i], o.var[i], o.rectified);
            mean[i] = static_cast<float>(moments[i].mean);
            var[i] = static_cast<float>(moments[i].var);
          }
        },
        kNanosecondsPerRectified * o.splits * o.w.in);
  }
};

}  // namespace kn::cpu
