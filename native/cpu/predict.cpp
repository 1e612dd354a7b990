#include <algorithm>
#include <map>
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

/// How many consecutive outputs lie side by side in a filter's memory.
int64_t outputRun(const op::Filter& f) { return blocked(f.out) ? kLanes : 1; }

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

/// The filter's sums, as matrices [in, out] with `out` innermost.
struct Sums {
  int64_t in, out, taps;
  std::vector<TapSet> outputs, inputs;  ///< weights: share of the outputs; count / outputs²
  std::vector<float> shares;            ///< of each tap: how many of the outputs see it
  std::vector<float> w;                 ///< [taps, in, out]
  std::vector<float> average;           ///< A, averaged over the positions
  std::vector<float> deviation;         ///< [kinds, in, out]: A of a kind minus the average
  std::vector<float> variance;          ///< what β is multiplied by

  int64_t size() const { return in * out; }

  Sums(const op::Filter& f, const op::ConvShape& shape, int64_t height, int64_t width, bool population)
      : in(f.in), out(f.out), taps(f.h * f.w) {
    const AxisKinds rows = axisKinds(height, f.h, shape.strideH, shape.top, shape.bottom);
    const AxisKinds columns = axisKinds(width, f.w, shape.strideW, shape.left, shape.right);
    const double positions = static_cast<double>(rows.outputCount) * columns.outputCount;
    outputs = product(rows.outputs, columns.outputs, f.w, positions);
    // What a sample's own spatial mean takes from its variance.
    if (!population) inputs = product(rows.inputs, columns.inputs, f.w, positions * positions);
    shares.resize(taps);
    for (const TapSet& set : outputs) {
      for (int64_t t : set.taps) shares[t] += static_cast<float>(set.weight);
    }
    w.resize(taps * size());
    average.resize(size());
    variance.resize(size());
    deviation.resize(outputs.size() * size());
    parallelFor(in, [&](int64_t c) {
      const int64_t run = outputRun(f);
      for (int64_t o = 0; o < out; o += run) {
        for (int64_t t = 0; t < taps; ++t) {
          std::copy_n(f.data + filterIndex(f, o, c, t / f.w, t % f.w), run, &w[t * size() + c * out + o]);
        }
      }
      float *mean = &average[c * out], *var = &variance[c * out];
      std::vector<float> sum(out);
      for (size_t k = 0; k < outputs.size(); ++k) {
        float* own = &deviation[k * size() + c * out];
        const auto weight = static_cast<float>(outputs[k].weight);
        for (int64_t t : outputs[k].taps) {
          const float* tap = &w[t * size() + c * out];
          for (int64_t o = 0; o < out; ++o) own[o] += tap[o];
        }
        for (int64_t o = 0; o < out; ++o) mean[o] += weight * own[o];
      }
      for (int64_t t = 0; t < taps; ++t) {
        const float* tap = &w[t * size() + c * out];
        for (int64_t o = 0; o < out; ++o) var[o] += shares[t] * tap[o] * tap[o];
      }
      for (size_t k = 0; k < outputs.size(); ++k) {
        float* own = &deviation[k * size() + c * out];
        for (int64_t o = 0; o < out; ++o) own[o] -= mean[o];
      }
      for (const TapSet& set : inputs) {
        seenSum(set, c, sum);
        const auto weight = static_cast<float>(set.weight);
        for (int64_t o = 0; o < out; ++o) var[o] -= weight * sum[o] * sum[o];
      }
    });
  }

  /// Sum over the taps of a set, for one input channel.
  void seenSum(const TapSet& set, int64_t c, std::vector<float>& sum) const {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t t : set.taps) {
      const float* tap = &w[t * size() + c * out];
      for (int64_t o = 0; o < out; ++o) sum[o] += tap[o];
    }
  }
};

/// row += Σ_c factor[c]·matrix[c]
void multiplyInto(const float* factor, const float* matrix, int64_t in, int64_t out, float* row) {
  for (int64_t c = 0; c < in; ++c) {
    const float f = factor[c];
    for (int64_t o = 0; o < out; ++o) row[o] += f * matrix[c * out + o];
  }
}

float dot(const float* a, const float* b, int64_t count) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  float sum = 0;
  for (; i < count; ++i) sum += a[i] * b[i];
  for (float s : sums) sum += s;
  return sum;
}

}  // namespace

void run(const op::Predict& o, Context&) {
  const Sums sums(o.w, o.shape, o.height, o.width, o.population);
  const int64_t in = sums.in, out = sums.out;
  parallelFor(o.splits, [&](int64_t s) {
    std::vector<float> mean(in), var(in), row(out);
    for (int64_t c = 0; c < in; ++c) {
      const Rectified r = inputMoments(o.mean[s * in + c], o.var[s * in + c], o.rectified);
      mean[c] = static_cast<float>(r.mean);
      var[c] = static_cast<float>(r.var);
    }
    float *outMean = o.outMean + s * out, *outVar = o.outVar + s * out;
    std::fill(outMean, outMean + out, 0.0f);
    std::fill(outVar, outVar + out, 0.0f);
    multiplyInto(mean.data(), sums.average.data(), in, out, outMean);
    multiplyInto(var.data(), sums.variance.data(), in, out, outVar);
    for (size_t k = 0; k < sums.outputs.size(); ++k) {
      std::fill(row.begin(), row.end(), 0.0f);
      multiplyInto(mean.data(), &sums.deviation[k * sums.size()], in, out, row.data());
      const auto weight = static_cast<float>(sums.outputs[k].weight);
      for (int64_t i = 0; i < out; ++i) outVar[i] += weight * row[i] * row[i];
    }
    // Of a single position all terms cancel, and their roundings may fall short of nothing. NaN stays.
    for (int64_t i = 0; i < out; ++i) outVar[i] = outVar[i] < 0 ? 0.0f : outVar[i];
  });
}

void run(const op::PredictBackward& o, Context&) {
  const Sums sums(o.w, o.shape, o.height, o.width, o.population);
  const int64_t in = sums.in, out = sums.out;
  // The deviations of all kinds sum to zero, so only the variance's gradient goes through them.
  const int64_t kinds = o.doutVar ? static_cast<int64_t>(sums.outputs.size()) : 0;
  std::vector<float> mean(o.splits * in), var(o.splits * in);
  // Gradient of each kind's mean, [splits, kinds, out].
  std::vector<float> dkind(o.splits * kinds * out);
  parallelFor(o.splits, [&](int64_t s) {
    std::vector<Rectified> r(in);
    for (int64_t c = 0; c < in; ++c) {
      r[c] = inputMoments(o.mean[s * in + c], o.var[s * in + c], o.rectified);
      mean[s * in + c] = static_cast<float>(r[c].mean);
      var[s * in + c] = static_cast<float>(r[c].var);
    }
    const float *dmean = o.doutMean + s * out, *dvar = o.doutVar ? o.doutVar + s * out : nullptr;
    std::vector<float> dalpha(in);
    for (int64_t c = 0; c < in; ++c) dalpha[c] = dot(dmean, &sums.average[c * out], out);
    for (int64_t k = 0; k < kinds; ++k) {
      float* d = &dkind[(s * kinds + k) * out];
      const float* deviation = &sums.deviation[k * sums.size()];
      multiplyInto(&mean[s * in], deviation, in, out, d);
      const auto weight = static_cast<float>(2 * sums.outputs[k].weight);
      for (int64_t i = 0; i < out; ++i) d[i] *= weight * dvar[i];
      for (int64_t c = 0; c < in; ++c) dalpha[c] += dot(d, deviation + c * out, out);
    }
    for (int64_t c = 0; c < in; ++c) {
      const double a = dalpha[c], b = dvar ? dot(dvar, &sums.variance[c * out], out) : 0;
      o.dmean[s * in + c] = static_cast<float>(a * r[c].dMeanByMean + b * r[c].dVarByMean);
      o.dvar[s * in + c] = static_cast<float>(a * r[c].dMeanByVar + b * r[c].dVarByVar);
    }
  });

  parallelFor(in, [&](int64_t c) {
    std::vector<float> daverage(out), dvariance(out), ddeviation(kinds * out), sum(out);
    for (int64_t s = 0; s < o.splits; ++s) {
      const float alpha = mean[s * in + c], beta = var[s * in + c];
      const float *dmean = o.doutMean + s * out, *d = dkind.data() + s * kinds * out;
      for (int64_t i = 0; i < out; ++i) daverage[i] += alpha * dmean[i];
      for (int64_t i = 0; o.doutVar && i < out; ++i) dvariance[i] += beta * o.doutVar[s * out + i];
      for (int64_t i = 0; i < kinds * out; ++i) ddeviation[i] += alpha * d[i];
    }
    std::vector<float> dw(sums.taps * out);
    for (int64_t k = 0; k < kinds; ++k) {
      for (int64_t t : sums.outputs[k].taps) {
        for (int64_t i = 0; i < out; ++i) dw[t * out + i] += ddeviation[k * out + i];
      }
    }
    for (int64_t t = 0; t < sums.taps; ++t) {
      const float* tap = &sums.w[t * sums.size() + c * out];
      for (int64_t i = 0; i < out; ++i) {
        dw[t * out + i] += sums.shares[t] * (daverage[i] + 2 * dvariance[i] * tap[i]);
      }
    }
    for (const TapSet& set : sums.inputs) {
      sums.seenSum(set, c, sum);
      const auto weight = static_cast<float>(2 * set.weight);
      for (int64_t t : set.taps) {
        for (int64_t i = 0; i < out; ++i) dw[t * out + i] -= weight * dvariance[i] * sum[i];
      }
    }
    const int64_t run = outputRun(o.dw);
    for (int64_t i = 0; i < out; i += run) {
      for (int64_t t = 0; t < sums.taps; ++t) {
        std::copy_n(&dw[t * out + i], run, o.dw.data + filterIndex(o.dw, i, c, t / o.w.w, t % o.w.w));
      }
    }
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
