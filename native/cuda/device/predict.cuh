#pragma once
#include "../../core/ops/predict.h"
#include "../../core/ops/rectified.h"
#include "grid.cuh"

/// The analytic transition (its formulas: native/cpu/transition.h) in terms of taps. With P[t] = Σ α·w[t] over the
/// input channels, an output's mean at a position is the sum of P over the taps that lie on the image there. Hence its
/// mean over the positions and its variance are a linear and a quadratic form of P, and what the input variances are
/// multiplied by is a quadratic form of the filter. The forms' coefficients count the positions that see (or are seen
/// by) two taps alike: products of a factor for the rows and one for the columns.
namespace kn::cuda {

constexpr int kMostTaps = 32;  ///< along an axis

struct Axis {
  int64_t size, taps, stride, before, outputs;

  static Axis of(int64_t size, int64_t taps, int64_t stride, int64_t before, int64_t after) {
    return {size, taps, stride, before, (size + before + after - taps) / stride + 1};
  }
  /// Outputs o from `least` on whose tap lies on the image (not after its end for tap `b`, before its start for `a`).
  __device__ __forceinline__ int64_t outputsOnImage(int64_t least, int64_t a, int64_t b) const {
    const int64_t from = before - a, to = size - 1 + before - b;
    int64_t first = from > 0 ? (from + stride - 1) / stride : 0, last = to < 0 ? -1 : to / stride;
    if (first < least) first = least;
    if (last > outputs - 1) last = outputs - 1;
    return last < first ? 0 : last - first + 1;
  }
  /// The share of the outputs that see the image through both taps, a <= b.
  __device__ __forceinline__ double seeing(int64_t a, int64_t b) const {
    return static_cast<double>(outputsOnImage(0, a, b)) / static_cast<double>(outputs);
  }
  /// How many inputs are seen through both taps, a <= b, by outputs that may differ; over the outputs squared.
  __device__ __forceinline__ double seen(int64_t a, int64_t b) const {
    if ((b - a) % stride != 0) return 0;
    const double count = static_cast<double>(outputsOnImage((b - a) / stride, a, a));
    return count / (static_cast<double>(outputs) * static_cast<double>(outputs));
  }
};

struct PredictShape {
  int64_t splits, in, out;
  Axis rows, columns;
  bool population, rectified;

  template <class Op>
  static PredictShape of(const Op& o) {
    return {o.splits,
            o.w.in,
            o.w.out,
            Axis::of(o.height, o.w.h, o.shape.strideH, o.shape.top, o.shape.bottom),
            Axis::of(o.width, o.w.w, o.shape.strideW, o.shape.left, o.shape.right),
            o.population,
            o.rectified};
  }
  __host__ __device__ int64_t taps() const { return rows.taps * columns.taps; }
  /// Filters and P have a tap of an output in each of their rows or columns.
  __host__ __device__ int64_t outputTaps() const { return out * taps(); }
  int64_t cells() const { return splits * in; }
};

/// Coefficients of an axis: factor(a, b) at [a·taps + b].
template <class Real, class Factor>
__device__ __forceinline__ void fillFactors(const Axis& axis, Real* factors, const Factor& factor) {
  const int taps = static_cast<int>(axis.taps);
  for (int i = static_cast<int>(threadIdx.x); i < taps * taps; i += kItemThreads) {
    const int a = i / taps, b = i % taps;
    factors[i] = static_cast<Real>(a < b ? factor(a, b) : factor(b, a));
  }
}

/// What β is multiplied by, for a pair of input and output channel: Σ tap·half(tap).
struct FilterForms {
  int rows, columns;
  const float *rowFactors, *columnFactors, *rowShares, *columnShares;

  /// Half the derivative by the tap (y, x). The pair's taps begin at `w` and are `step` apart.
  __device__ __forceinline__ float half(const float* w, int64_t step, int y, int x) const {
    float seen = 0;
    for (int v = 0; v < rows; ++v) {
      float row = 0;
      for (int u = 0; u < columns; ++u) row = fmaf(columnFactors[x * columns + u], w[(v * columns + u) * step], row);
      seen = fmaf(rowFactors[y * rows + v], row, seen);
    }
    return fmaf(rowShares[y] * columnShares[x], w[(y * columns + x) * step], -seen);
  }
};

/// All threads of the block must call it.
__device__ __forceinline__ FilterForms filterForms(const PredictShape& shape) {
  KN_SHARED(float, rowFactors, [kMostTaps * kMostTaps]);
  KN_SHARED(float, columnFactors, [kMostTaps * kMostTaps]);
  KN_SHARED(float, rowShares, [kMostTaps]);
  KN_SHARED(float, columnShares, [kMostTaps]);
  const int rows = static_cast<int>(shape.rows.taps), columns = static_cast<int>(shape.columns.taps);
  const int thread = static_cast<int>(threadIdx.x);
  fillFactors(shape.rows, rowFactors, [&](int a, int b) { return shape.population ? 0 : shape.rows.seen(a, b); });
  fillFactors(shape.columns, columnFactors,
              [&](int a, int b) { return shape.population ? 0 : shape.columns.seen(a, b); });
  if (thread < rows) rowShares[thread] = static_cast<float>(shape.rows.seeing(thread, thread));
  if (thread < columns) columnShares[thread] = static_cast<float>(shape.columns.seeing(thread, thread));
  __syncthreads();
  return {rows, columns, rowFactors, columnFactors, rowShares, columnShares};
}

/// The forms of an output's P. In double: the variance of the means may be small against their square.
struct MeanForms {
  int rows, columns;
  const double *rowFactors, *columnFactors;

  __device__ __forceinline__ double share(int y, int x) const {
    return rowFactors[y * rows + y] * columnFactors[x * columns + x];
  }
  /// The mean over the positions.
  __device__ __forceinline__ double mean(const float* p) const {
    double sum = 0;
    for (int y = 0; y < rows; ++y) {
      for (int x = 0; x < columns; ++x) sum += share(y, x) * p[y * columns + x];
    }
    return sum;
  }
  /// Half the derivative, by the tap (y, x), of the variance over the positions, which is Σ p·deviation(tap).
  __device__ __forceinline__ double deviation(const float* p, double mean, int y, int x) const {
    double sum = -share(y, x) * mean;
    for (int v = 0; v < rows; ++v) {
      double row = 0;
      for (int u = 0; u < columns; ++u) row += columnFactors[x * columns + u] * p[v * columns + u];
      sum += rowFactors[y * rows + v] * row;
    }
    return sum;
  }
  /// The gradient of P at the tap (y, x) from those of the output's mean and variance; no `doutVar`: from the mean's.
  __device__ __forceinline__ float gradient(const float* p, int y, int x, float doutMean, const float* doutVar) const {
    double sum = share(y, x) * doutMean;
    if (doutVar) sum += 2 * deviation(p, mean(p), y, x) * *doutVar;
    return static_cast<float>(sum);
  }
};

/// All threads of the block must call it.
__device__ __forceinline__ MeanForms meanForms(const PredictShape& shape) {
  KN_SHARED(double, rowFactors, [kMostTaps * kMostTaps]);
  KN_SHARED(double, columnFactors, [kMostTaps * kMostTaps]);
  fillFactors(shape.rows, rowFactors, [&](int a, int b) { return shape.rows.seeing(a, b); });
  fillFactors(shape.columns, columnFactors, [&](int a, int b) { return shape.columns.seeing(a, b); });
  __syncthreads();
  return {static_cast<int>(shape.rows.taps), static_cast<int>(shape.columns.taps), rowFactors, columnFactors};
}

/// Of a single position all terms cancel, and their roundings may fall short of nothing. NaN stays.
__device__ __forceinline__ float varianceOf(double sum) { return sum < 0 ? 0 : static_cast<float>(sum); }

/// Takes the gradients of the rectified moments to those of the belief.
__device__ __forceinline__ void storeBeliefGradient(const Rectified& r, double dmoment, double dvariance, float& dmean,
                                                    float& dvar) {
  dmean = static_cast<float>(dmoment * r.dMeanByMean + dvariance * r.dVarByMean);
  dvar = static_cast<float>(dmoment * r.dMeanByVar + dvariance * r.dVarByVar);
}

/// Whether `predictShared` takes it (predict_shared.cu).
bool isShared(const PredictShape& shape);
void predictShared(const op::Predict& o, const PredictShape& shape, Context& context);
void predictShared(const op::PredictBackward& o, const PredictShape& shape, Context& context);

}  // namespace kn::cuda
