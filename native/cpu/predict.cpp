#include <algorithm>
#include <cstring>
#include <map>
#include <type_traits>
#include <vector>

#include "../core/ops/rectified.h"
#include "kernels.h"
#include "layout.h"
#include "parallel.h"
#include "sampling.h"

/// The analytic transition. With a[c] independent over positions, of mean α and variance β, a convolution's output at a
/// position has mean Σ α·A and variance Σ β·B, where A and B sum w and w² over the taps that lie on the image there.
/// The expected biased variance over the positions is then: mean of the variances, plus variance of the means, minus
/// the variance of the spatial mean, to which each input contributes by the taps that see it. Positions with the same
/// taps (nine kinds for a 3 x 3 filter of stride 1) are treated as one.
namespace kn::cpu {
namespace {

/// Positions along an axis that see (or are seen by) the same taps.
struct Kind {
  uint32_t taps;
  int64_t count;
};

struct AxisKinds {
  std::vector<Kind> outputs, inputs;
  int64_t outputCount;
};

std::vector<Kind> collect(const std::vector<uint32_t>& masks) {
  std::map<uint32_t, int64_t> counts;
  for (uint32_t mask : masks) ++counts[mask];
  std::vector<Kind> kinds;
  kinds.reserve(counts.size());
  for (const auto& [taps, count] : counts) kinds.push_back({taps, count});
  return kinds;
}

AxisKinds axisKinds(int64_t size, int64_t kernel, int64_t stride, int64_t before, int64_t after) {
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

std::vector<TapSet> product(const std::vector<Kind>& rows, const std::vector<Kind>& columns, int64_t kernelWidth,
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

float sumOfLanes(float v) { return v; }
float sumOfLanes(Float8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

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

/// The gradients of what each tap contributes to the means of outputs first, ..., in [splits, taps, out]. The
/// deviations of all kinds sum to zero, so that only the variance's gradient goes through them.
template <class V, class Taps>
void gradientOfTaps(const op::PredictBackward& o, const Geometry& geometry, const Inputs& inputs, const Columns& w,
                    int64_t first, Taps taps, float* dmeans) {
  std::vector<V> gradients(geometry.taps), means(geometry.taps), deviation(geometry.outputs.size());
  for (int64_t s = 0; s < o.splits; ++s) {
    const V dmean = loadColumn<V>(o.doutMean + s * o.w.out + first);
    for (int64_t t = 0; t < taps; ++t) gradients[t] = geometry.shares[t] * dmean;
    if (o.doutVar) {
      meansOfTaps(w, first, &inputs.mean[s * o.w.in], taps, means.data());
      deviations(geometry, means.data(), deviation.data());
      const V dvar = loadColumn<V>(o.doutVar + s * o.w.out + first);
      for (size_t k = 0; k < deviation.size(); ++k) {
        const V d = static_cast<float>(2 * geometry.outputs[k].weight) * deviation[k] * dvar;
        for (int64_t t : geometry.outputs[k].taps) gradients[t] += d;
      }
    }
    for (int64_t t = 0; t < taps; ++t) storeColumn(&dmeans[(s * taps + t) * o.w.out + first], gradients[t]);
  }
}

/// Of a filter: outputs first, ... side by side, and inputs from `begin` on, for all taps.
template <class V>
struct Tile {
  const float* filter;
  float* gradient;  ///< laid out as the filter
  int64_t tapStep, inputStep;
  int64_t first, begin;

  int64_t at(int64_t t, int64_t i) const { return t * tapStep + i * inputStep; }
  V load(int64_t t, int64_t i) const { return loadColumn<V>(filter + at(t, i)); }
};

/// What comes to the means and variances of up to eight inputs, [splits, kLanes], as sums over the outputs.
template <class V>
struct GroupGradients {
  std::vector<V> mean, var;
  std::vector<V> tile;  ///< of the mean, by one tile

  explicit GroupGradients(int64_t splits) : mean(splits * kLanes), var(mean.size()), tile(mean.size()) {}
};

/// How many groups of eight inputs are worked off together: what lies side by side for a block of outputs is at least a
/// page then, where the filter is large. By single groups, each few lines would be a wait for memory.
int64_t groupsTogether(int64_t groups, int64_t taps) {
  constexpr int64_t kPage = 4096;
  const int64_t bytes = kLanes * kLanes * taps * static_cast<int64_t>(sizeof(float));
  return std::clamp<int64_t>(kPage / bytes, 1, std::max<int64_t>(1, groups / 4));
}

/// The gradient of a tile, and what it adds to those of `count` inputs.
template <class V, class Taps, class Count, class Splits>
void gradientOfTile(const op::PredictBackward& o, const Geometry& geometry, const Inputs& inputs, const float* dmeans,
                    const Tile<V>& tile, Taps taps, Count count, Splits splits, GroupGradients<V>& sums) {
  const int64_t in = o.w.in, out = o.w.out;
  V dspread[kLanes] = {};
  if (o.doutVar) {
    for (int64_t i = 0; i < count; ++i) {
      const V spread = spreadOf<V>(geometry, tile.filter + tile.at(0, i), tile.tapStep, taps);
      for (int64_t s = 0; s < splits; ++s) {
        const V d = loadColumn<V>(o.doutVar + s * out + tile.first);
        dspread[i] += inputs.var[s * in + tile.begin + i] * d;
        sums.var[s * kLanes + i] += d * spread;
      }
    }
  }
  // In the order of memory: the inputs of a tap, and then the next tap.
  V single[kLanes];  // in registers
  V* const dmean = std::is_same_v<Splits, int64_t> ? sums.tile.data() : single;
  for (int64_t i = 0; i < splits * kLanes; ++i) dmean[i] = V{};
  for (int64_t t = 0; t < taps; ++t) {
    V dw[kLanes] = {};
    for (int64_t s = 0; s < splits; ++s) {
      const V d = loadColumn<V>(&dmeans[(s * geometry.taps + t) * out + tile.first]);
      for (int64_t i = 0; i < count; ++i) {
        dw[i] += inputs.mean[s * in + tile.begin + i] * d;
        dmean[s * kLanes + i] += d * tile.load(t, i);
      }
    }
    if (o.doutVar) {
      for (int64_t i = 0; i < count; ++i) {
        dw[i] += 2 * geometry.shares[t] * dspread[i] * tile.load(t, i);
      }
    }
    for (int64_t i = 0; i < count; ++i) storeColumn(tile.gradient + tile.at(t, i), dw[i]);
  }
  for (int64_t i = 0; i < splits * kLanes; ++i) sums.mean[i] += dmean[i];
  if (!o.doutVar) return;
  for (const TapSet& set : geometry.inputs) {
    for (int64_t i = 0; i < count; ++i) {
      V sum = {};
      for (int64_t t : set.taps) sum += tile.load(t, i);
      sum *= static_cast<float>(2 * set.weight) * dspread[i];
      for (int64_t t : set.taps) {
        float* const at = tile.gradient + tile.at(t, i);
        storeColumn<V>(at, loadColumn<V>(at) - sum);
      }
    }
  }
}

}  // namespace

void run(const op::Predict& o, Context&) {
  const Geometry geometry(o);
  const Inputs inputs(o);
  const Columns w(o.w);
  const int64_t in = o.w.in, out = o.w.out;
  specialized(o.w, [&](auto column, auto taps) {
    using V = decltype(column);
    parallelFor(
        out / kWidth<V>,
        [&](int64_t block) {
          const int64_t first = block * kWidth<V>;
          std::vector<V> spreads(in), means(geometry.taps), deviation(geometry.outputs.size());
          for (int64_t c = 0; c < in; ++c) spreads[c] = spreadOf<V>(geometry, w.at(first, c), w.step, taps);
          for (int64_t s = 0; s < o.splits; ++s) {
            meansOfTaps(w, first, &inputs.mean[s * in], taps, means.data());
            const V mean = deviations(geometry, means.data(), deviation.data());
            V var = {};
            for (int64_t c = 0; c < in; ++c) var += inputs.var[s * in + c] * spreads[c];
            for (size_t k = 0; k < deviation.size(); ++k) {
              var += static_cast<float>(geometry.outputs[k].weight) * deviation[k] * deviation[k];
            }
            // Of a single position all terms cancel, and their roundings may fall short of nothing. NaN stays.
            storeColumn(o.outMean + s * out + first, mean);
            storeColumn<V>(o.outVar + s * out + first, var < 0 ? V{} : var);
          }
        },
        workOf(o));
  });
}

void run(const op::PredictBackward& o, Context&) {
  const Geometry geometry(o);
  const Inputs inputs(o);
  const Columns w(o.w), dw(o.dw);
  const int64_t in = o.w.in, out = o.w.out, splits = o.splits;
  std::vector<float> dmeans(splits * geometry.taps * out);
  specialized(o.w, [&](auto column, auto taps) {
    using V = decltype(column);
    constexpr int64_t width = kWidth<V>;
    parallelFor(
        out / width,
        [&](int64_t block) { gradientOfTaps<V>(o, geometry, inputs, w, block * width, taps, dmeans.data()); },
        o.doutVar ? workOf(o) : 0);

    const int64_t groups = (in + kLanes - 1) / kLanes, together = groupsTogether(groups, taps);
    parallelFor((groups + together - 1) / together,
                [&](int64_t part) {
                  const int64_t from = part * together, to = std::min(groups, from + together);
                  std::vector<GroupGradients<V>> sums(to - from, GroupGradients<V>(splits));
                  for (int64_t first = 0; first < out; first += width) {
                    for (int64_t group = from; group < to; ++group) {
                      const int64_t begin = group * kLanes, count = std::min<int64_t>(kLanes, in - begin);
                      const Tile<V> tile{w.at(first, begin), dw.at(first, begin), w.step, w.inputStep, first, begin};
                      if (count == kLanes && splits == 1) {
                        gradientOfTile(o, geometry, inputs, dmeans.data(), tile, taps,
                                       std::integral_constant<int64_t, kLanes>{}, std::integral_constant<int64_t, 1>{},
                                       sums[group - from]);
                      } else {
                        gradientOfTile(o, geometry, inputs, dmeans.data(), tile, taps, count, splits,
                                       sums[group - from]);
                      }
                    }
                  }
                  for (int64_t c = from * kLanes; c < std::min(in, to * kLanes); ++c) {
                    const GroupGradients<V>& own = sums[c / kLanes - from];
                    for (int64_t s = 0; s < splits; ++s) {
                      const int64_t lane = s * kLanes + c % kLanes, at = s * in + c;
                      const double a = sumOfLanes(own.mean[lane]), b = sumOfLanes(own.var[lane]);
                      const Rectified& r = inputs.moments[at];
                      o.dmean[at] = static_cast<float>(a * r.dMeanByMean + b * r.dVarByMean);
                      o.dvar[at] = static_cast<float>(a * r.dMeanByVar + b * r.dVarByVar);
                    }
                  }
                },
                2 * workOf(o));
  });
}

void run(const op::RectifyBelief& o, Context&) {
  for (int64_t i = 0; i < o.count; ++i) {
    const Rectified r = rectify(o.mean[i], o.var[i]);
    o.outMean[i] = static_cast<float>(r.mean);
    o.outVar[i] = static_cast<float>(r.var);
  }
}

void run(const op::RectifyBeliefBackward& o, Context&) {
  for (int64_t i = 0; i < o.count; ++i) {
    const Rectified r = rectify(o.mean[i], o.var[i]);
    const double dmean = o.doutMean[i], dvar = o.doutVar[i];
    o.dmean[i] = static_cast<float>(dmean * r.dMeanByMean + dvar * r.dVarByMean);
    o.dvar[i] = static_cast<float>(dmean * r.dMeanByVar + dvar * r.dVarByVar);
  }
}

void run(const op::SamplePrior& o, Context&) {
  const Gaussian gaussian(o.random);
  const int64_t groups = groupCount(o.y.c);
  parallelFor(o.y.n * groups,
              [&](int64_t i) { sampleSplit(o.y, o.noise, gaussian, o.mean, o.var, i / groups, i % groups); });
}

void run(const op::SamplePriorBackward& o, Context&) {
  const int64_t groups = groupCount(o.y.c), cells = o.y.n * o.y.c;
  std::vector<double> dmean(cells), dvar(cells);
  parallelFor(o.y.n * groups, [&](int64_t i) {
    sampleGradient(o.y, o.dy, i / groups, i % groups, o.mean, o.var, dmean.data(), dvar.data());
  });
  for (int64_t i = 0; i < cells; ++i) {
    o.dmean[i] = static_cast<float>(dmean[i]);
    o.dvar[i] = static_cast<float>(dvar[i]);
  }
}

}  // namespace kn::cpu
