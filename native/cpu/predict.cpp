#include <vector>

#include "sampling.h"
#include "transition.h"

namespace kn::cpu {

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
