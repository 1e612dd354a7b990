#include <algorithm>
#include <type_traits>
#include <vector>

#include "transition.h"

/// The gradient of the analytic transition. What comes through the variance takes its closed form, or what samples have
/// shown.
namespace kn::cpu {
namespace {

/// The gradients of what each tap contributes to the means of outputs first, ..., in [splits, taps, out]. The
/// deviations of all kinds sum to zero, so that only the variance's gradient goes through them.
template <class V, class Taps>
void gradientOfTaps(const op::PredictBackward& o, const Geometry& geometry, const Inputs& inputs, const Columns& w,
                    int64_t first, Taps taps, float* dmeans) {
  std::vector<V> gradients(geometry.taps), means(geometry.taps), deviation(geometry.outputs.size());
  for (int64_t s = 0; s < o.splits; ++s) {
    const V dmean = loadColumn<V>(o.doutMean + s * o.w.out + first);
    for (int64_t t = 0; t < taps; ++t) gradients[t] = geometry.shares[t] * dmean;
    if (o.closedVar()) {
      meansOfTaps(w, first, &inputs.mean[s * o.w.in], taps, means.data());
      deviations(geometry, means.data(), deviation.data());
      const V dvar = loadColumn<V>(o.closedVar() + s * o.w.out + first);
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
  const float *filter, *slope;  ///< no slope: null
  float* gradient;              ///< laid out as the filter, and the slope
  int64_t tapStep, inputStep;
  int64_t first, begin;

  int64_t at(int64_t t, int64_t i) const { return t * tapStep + i * inputStep; }
  V load(int64_t t, int64_t i) const { return loadColumn<V>(filter + at(t, i)); }
};

/// What the slopes of outputs first, ... are multiplied by.
template <class V>
V shownScale(const op::PredictBackward& o, int64_t first) {
  float scales[kWidth<V>];
  for (int64_t i = 0; i < kWidth<V>; ++i) scales[i] = o.shown.scale(first + i, o.doutVar[first + i]);
  return loadColumn<V>(scales);
}

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

/// The gradient of a tile, and what it adds to those of `count` inputs. `Shown`: where samples have shown a slope.
template <bool Shown, class V, class Taps, class Count, class Splits>
void gradientOfTile(const op::PredictBackward& o, const Geometry& geometry, const Inputs& inputs, const float* dmeans,
                    const Tile<V>& tile, Taps taps, Count count, Splits splits, GroupGradients<V>& sums) {
  const int64_t in = o.w.in, out = o.w.out;
  const float* const closedVar = Shown ? nullptr : o.doutVar;
  V dspread[kLanes] = {};
  if (closedVar) {
    for (int64_t i = 0; i < count; ++i) {
      const V spread = spreadOf<V>(geometry, tile.filter + tile.at(0, i), tile.tapStep, taps);
      for (int64_t s = 0; s < splits; ++s) {
        const V d = loadColumn<V>(closedVar + s * out + tile.first);
        dspread[i] += inputs.var[s * in + tile.begin + i] * d;
        sums.var[s * kLanes + i] += d * spread;
      }
    }
  }
  // In the order of memory: the inputs of a tap, and then the next tap.
  V single[kLanes];  // in registers
  V* const dmean = std::is_same_v<Splits, int64_t> ? sums.tile.data() : single;
  for (int64_t i = 0; i < splits * kLanes; ++i) dmean[i] = V{};
  V scale = {}, products[kLanes] = {};
  if constexpr (Shown) scale = shownScale<V>(o, tile.first);
  for (int64_t t = 0; t < taps; ++t) {
    V dw[kLanes] = {};
    for (int64_t s = 0; s < splits; ++s) {
      const V d = loadColumn<V>(&dmeans[(s * geometry.taps + t) * out + tile.first]);
      for (int64_t i = 0; i < count; ++i) {
        dw[i] += inputs.mean[s * in + tile.begin + i] * d;
        dmean[s * kLanes + i] += d * tile.load(t, i);
      }
    }
    if (closedVar) {
      for (int64_t i = 0; i < count; ++i) dw[i] += 2 * geometry.shares[t] * dspread[i] * tile.load(t, i);
    }
    if constexpr (Shown) {
      for (int64_t i = 0; i < count; ++i) {
        const V d = scale * loadColumn<V>(tile.slope + tile.at(t, i));
        dw[i] += d;
        products[i] += d * tile.load(t, i);
      }
    }
    for (int64_t i = 0; i < count; ++i) storeColumn(tile.gradient + tile.at(t, i), dw[i]);
  }
  for (int64_t i = 0; i < splits * kLanes; ++i) sums.mean[i] += dmean[i];
  if constexpr (Shown) {
    for (int64_t i = 0; i < count; ++i) sums.var[i] += products[i];
  }
  if (!closedVar) return;
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

/// Of inputs begin, ..., a group or less of them: from the sums to the gradients of the belief.
template <class V>
void finishGroup(const op::PredictBackward& o, const Inputs& inputs, const GroupGradients<V>& sums, int64_t begin,
                 int64_t count) {
  for (int64_t s = 0; s < o.splits; ++s) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t lane = s * kLanes + i, at = s * o.w.in + begin + i;
      const Rectified& r = inputs.moments[at];
      const double a = sumOfLanes(sums.mean[lane]), sum = sumOfLanes(sums.var[lane]);
      const double b = o.shown.slope ? op::ShownSlope::ofInput(sum, r.var) : sum;
      o.dmean[at] = static_cast<float>(a * r.dMeanByMean + b * r.dVarByMean);
      o.dvar[at] = static_cast<float>(a * r.dMeanByVar + b * r.dVarByVar);
    }
  }
}

/// Groups from, ..., to - 1 of eight inputs, for all outputs.
template <bool Shown, class V, class Taps>
void gradientOfGroups(const op::PredictBackward& o, const Geometry& geometry, const Inputs& inputs, const float* dmeans,
                      Taps taps, int64_t from, int64_t to) {
  const Columns w(o.w), dw(o.dw);
  std::vector<GroupGradients<V>> sums(to - from, GroupGradients<V>(o.splits));
  const auto countOf = [&](int64_t group) { return std::min<int64_t>(kLanes, o.w.in - group * kLanes); };
  for (int64_t first = 0; first < o.w.out; first += kWidth<V>) {
    for (int64_t group = from; group < to; ++group) {
      const int64_t begin = group * kLanes, count = countOf(group);
      float* const filter = w.at(first, begin);
      const float* const slope = Shown ? o.shown.slope + (filter - o.w.data) : nullptr;
      const Tile<V> tile{filter, slope, dw.at(first, begin), w.step, w.inputStep, first, begin};
      GroupGradients<V>& own = sums[group - from];
      if (count == kLanes && o.splits == 1) {
        gradientOfTile<Shown>(o, geometry, inputs, dmeans, tile, taps, std::integral_constant<int64_t, kLanes>{},
                              std::integral_constant<int64_t, 1>{}, own);
      } else {
        gradientOfTile<Shown>(o, geometry, inputs, dmeans, tile, taps, count, o.splits, own);
      }
    }
  }
  for (int64_t group = from; group < to; ++group) {
    finishGroup(o, inputs, sums[group - from], group * kLanes, countOf(group));
  }
}

}  // namespace

void run(const op::PredictBackward& o, Context&) {
  const Geometry geometry(o);
  const Inputs inputs(o);
  const Columns w(o.w);
  const int64_t groups = (o.w.in + kLanes - 1) / kLanes;
  std::vector<float> dmeans(o.splits * geometry.taps * o.w.out);
  specialized(o.w, [&](auto column, auto taps) {
    using V = decltype(column);
    parallelFor(
        o.w.out / kWidth<V>,
        [&](int64_t block) { gradientOfTaps<V>(o, geometry, inputs, w, block * kWidth<V>, taps, dmeans.data()); },
        o.closedVar() ? workOf(o) : 0);

    const int64_t together = groupsTogether(groups, taps);
    parallelFor((groups + together - 1) / together,
                [&](int64_t part) {
                  const int64_t from = part * together, to = std::min(groups, from + together);
                  if (o.shown.slope) {
                    gradientOfGroups<true, V>(o, geometry, inputs, dmeans.data(), taps, from, to);
                  } else {
                    gradientOfGroups<false, V>(o, geometry, inputs, dmeans.data(), taps, from, to);
                  }
                },
                2 * workOf(o));
  });
}

}  // namespace kn::cpu
