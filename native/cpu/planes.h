#pragma once
#include <vector>

#include "layout.h"
#include "parallel.h"

/// The inner loops of all normalizations: passes over the pixels of up to eight channels of one sample. Floats are
/// summed over a chunk of pixels at most; chunks are summed in double.
namespace kn::cpu {

constexpr int64_t kChunk = 128;

/// Calls body.template operator()<Full, Flag>() for the run-time values.
template <class Body>
void dispatch(bool full, bool flag, const Body& body) {
  if (full) {
    flag ? body.template operator()<true, true>() : body.template operator()<true, false>();
  } else {
    flag ? body.template operator()<false, true>() : body.template operator()<false, false>();
  }
}

// --- moments --------------------------------------------------------------------------------------------------------

/// Count, mean and sum of squared deviations of eight channels; merged by Chan's rule.
struct Moments8 {
  double count = 0;
  double mean[kLanes] = {};
  double m2[kLanes] = {};

  void merge(const Moments8& other) {
    if (other.count == 0) return;
    const double total = count + other.count;
    for (int i = 0; i < kLanes; ++i) {
      const double delta = other.mean[i] - mean[i];
      mean[i] += delta * (other.count / total);
      m2[i] += other.m2[i] + delta * delta * (count * other.count / total);
    }
    count = total;
  }
};

/// Sums of x - pivot and its square. The pivot, the mean of the first pixels, keeps large means from cancelling.
struct PivotSums {
  Float8 pivot = {};
  Double8 sum, squares;
  int64_t count = 0;

  template <bool Full>
  void choosePivot(const Plane& p) {
    const int64_t first = p.pixels < 16 ? p.pixels : 16;
    Float8 sum = {};
    for (int64_t i = 0; i < first; ++i) sum += load<Full>(p.data + i * p.stride, p.valid);
    pivot = sum / broadcast(static_cast<float>(first));
  }

  Moments8 moments() const {
    Moments8 m;
    m.count = static_cast<double>(count);
    for (int i = 0; i < kLanes; ++i) {
      const double mean = sum[i] / m.count;
      m.mean[i] = pivot[i] + mean;
      const double m2 = squares[i] - sum[i] * mean;
      m.m2[i] = m2 < 0 ? 0 : m2;
    }
    return m;
  }
};

template <bool Full>
void addPlane(const Plane& x, PivotSums& sums) {
  if (sums.count == 0) sums.choosePivot<Full>(x);
  const Float8 pivot = sums.pivot;
  for (int64_t begin = 0; begin < x.pixels; begin += kChunk) {
    const int64_t end = begin + kChunk < x.pixels ? begin + kChunk : x.pixels;
    Float8 s0 = {}, s1 = {}, q0 = {}, q1 = {};
    const float* p = x.data + begin * x.stride;
    int64_t i = begin;
    for (; i + 1 < end; i += 2, p += 2 * x.stride) {
      const Float8 a = load<Full>(p, x.valid) - pivot, b = load<Full>(p + x.stride, x.valid) - pivot;
      s0 += a;
      s1 += b;
      q0 += a * a;
      q1 += b * b;
    }
    if (i < end) {
      const Float8 a = load<Full>(p, x.valid) - pivot;
      s0 += a;
      q0 += a * a;
    }
    sums.sum.add(s0 + s1);
    sums.squares.add(q0 + q1);
  }
  sums.count += x.pixels;
}

/// out = a + b
template <bool Full>
void addPlanes(const Plane& a, const Plane& b, const Plane& out) {
  for (int64_t i = 0, at = 0; i < out.pixels; ++i, at += out.stride) {
    store<Full>(out.data + at, load<Full>(a.data + at, a.valid) + load<Full>(b.data + at, b.valid), out.valid);
  }
}

// --- normalization --------------------------------------------------------------------------------------------------

/// (x - center)·scale + shift
struct Affine8 {
  Float8 center = {}, scale = {}, shift = {};
  Float8 operator()(Float8 x) const { return (x - center) * scale + shift; }
};

template <bool Full, bool Relu>
void applyPlane(const Plane& x, const Plane& y, const Affine8& affine) {
  for (int64_t i = 0, at = 0; i < x.pixels; ++i, at += x.stride) {
    const Float8 v = affine(load<Full>(x.data + at, x.valid));
    store<Full>(y.data + at, Relu ? relu(v) : v, y.valid);
  }
}

inline void applyPlane(const Plane& x, const Plane& y, const Affine8& affine, bool relu) {
  dispatch(x.full(), relu, [&]<bool Full, bool Relu>() { applyPlane<Full, Relu>(x, y, affine); });
}

/// Sums over pixels of g and g·(x - center), g being the gradient behind the ReLU.
struct Sums8 {
  Double8 g, gx;
  void add(const Sums8& other) {
    g += other.g;
    gx += other.gx;
  }
};

template <bool Relu>
Float8 masked(Float8 dy, Float8 x, const Affine8& affine) {
  return Relu ? (affine(x) > 0 ? dy : Float8{}) : dy;
}

template <bool Full, bool Relu>
void gradientSums(const Plane& x, const Plane& dy, const Affine8& affine, Sums8& sums) {
  for (int64_t begin = 0; begin < x.pixels; begin += kChunk) {
    const int64_t end = begin + kChunk < x.pixels ? begin + kChunk : x.pixels;
    Float8 s0 = {}, s1 = {}, q0 = {}, q1 = {};
    int64_t i = begin, at = begin * x.stride;
    for (; i + 1 < end; i += 2, at += 2 * x.stride) {
      const Float8 xa = load<Full>(x.data + at, x.valid), xb = load<Full>(x.data + at + x.stride, x.valid);
      const Float8 ga = masked<Relu>(load<Full>(dy.data + at, x.valid), xa, affine);
      const Float8 gb = masked<Relu>(load<Full>(dy.data + at + x.stride, x.valid), xb, affine);
      s0 += ga;
      s1 += gb;
      q0 += ga * (xa - affine.center);
      q1 += gb * (xb - affine.center);
    }
    if (i < end) {
      const Float8 xa = load<Full>(x.data + at, x.valid);
      const Float8 ga = masked<Relu>(load<Full>(dy.data + at, x.valid), xa, affine);
      s0 += ga;
      q0 += ga * (xa - affine.center);
    }
    sums.g.add(s0 + s1);
    sums.gx.add(q0 + q1);
  }
}

inline void gradientSums(const Plane& x, const Plane& dy, const Affine8& affine, bool relu, Sums8& sums) {
  dispatch(x.full(), relu, [&]<bool Full, bool Relu>() { gradientSums<Full, Relu>(x, dy, affine, sums); });
}

/// dx = scale·(g + shift) + slope·(x - center) + offset. The mean gradient is subtracted before scaling (shift), so
/// that what cancels cancels without rounding, however small the variance.
struct Gradient8 {
  Float8 shift = {}, slope = {}, offset = {};
};

template <bool Full, bool Relu, bool Add>
void gradientPlane(const Plane& x, const Plane& dy, const Plane& dx, const float* add, const Affine8& affine,
                   const Gradient8& gradient) {
  for (int64_t i = 0, at = 0; i < x.pixels; ++i, at += x.stride) {
    const Float8 v = load<Full>(x.data + at, x.valid);
    const Float8 g = masked<Relu>(load<Full>(dy.data + at, x.valid), v, affine);
    Float8 d = (g + gradient.shift) * affine.scale + ((v - affine.center) * gradient.slope + gradient.offset);
    if constexpr (Add) d += load<Full>(add + at, x.valid);
    store<Full>(dx.data + at, d, dx.valid);
  }
}

/// `add` (a plane of the same layout, or null) is added to dx.
inline void gradientPlane(const Plane& x, const Plane& dy, const Plane& dx, const float* add, const Affine8& affine,
                          const Gradient8& gradient, bool relu) {
  dispatch(x.full(), relu, [&]<bool Full, bool Relu>() {
    if (add) {
      gradientPlane<Full, Relu, true>(x, dy, dx, add, affine, gradient);
    } else {
      gradientPlane<Full, Relu, false>(x, dy, dx, nullptr, affine, gradient);
    }
  });
}

/// dx = (x - center)·slope + offset: the gradient of moments.
inline void slopePlane(const Plane& x, const Plane& dx, Float8 center, Float8 slope, Float8 offset) {
  applyPlane(x, dx, {center, slope, offset}, false);
}

// --- work sharing ---------------------------------------------------------------------------------------------------

/// How the samples of a tensor are cut into tasks: by split, group of eight channels and run of samples. The cut
/// depends on the shape alone, so that sums don't depend on the number of threads.
struct Runs {
  int64_t splits, groups, samples /* of a split */, length, runs;

  Runs(const op::Act& x, int64_t splits) : splits(splits), groups(groupCount(x.c)), samples(x.n / splits) {
    constexpr int64_t pixelsPerRun = 8192;
    length = pixelsPerRun / x.pixels();
    if (length < 1) length = 1;
    if (length > samples) length = samples;
    runs = (samples + length - 1) / length;
  }
  int64_t tasks() const { return splits * groups * runs; }
  int64_t cells() const { return splits * groups; }

  struct Task {
    int64_t split, group, first, last;
    int64_t cell, run;
  };
  Task task(int64_t index) const {
    const int64_t cell = index / runs, run = index % runs;
    const int64_t split = cell / groups, begin = split * samples + run * length;
    const int64_t end = (split + 1) * samples;
    return {split, cell % groups, begin, begin + length < end ? begin + length : end, cell, run};
  }
};

/// Eight values of a vector from index `at`; lanes beyond `valid` are zero. A null vector reads as `missing`.
inline Float8 loadVector(const float* values, int64_t at, int valid, float missing = 0) {
  if (!values) return broadcast(missing);
  return valid == kLanes ? loadFull(values + at) : load<false>(values + at, valid);
}
inline int validLanes(int64_t channels, int64_t group) {
  const int64_t left = channels - group * kLanes;
  return static_cast<int>(left < kLanes ? left : kLanes);
}

/// The statistics of eight channels at index `at` (split·C + channel), as an affine map.
inline Affine8 affineAt(const float* mean, const float* var, const float* gamma, const float* beta, float epsilon,
                        int64_t at, int64_t channel, int valid) {
  const Float8 rstd = 1 / sqrt8(loadVector(var, at, valid) + epsilon);
  return {loadVector(mean, at, valid), loadVector(gamma, channel, valid, 1) * rstd, loadVector(beta, channel, valid)};
}

std::vector<float> reciprocalStd(const float* var, int64_t count, float epsilon);

/// Moments of the samples of one task.
inline Moments8 momentsOf(const op::Act& x, const Runs::Task& task) {
  PivotSums sums;
  for (int64_t n = task.first; n < task.last; ++n) {
    const Plane p = plane(x, n, task.group);
    p.full() ? addPlane<true>(p, sums) : addPlane<false>(p, sums);
  }
  return sums.moments();
}

inline Moments8 mergeRuns(const std::vector<Moments8>& parts, const Runs& runs, int64_t cell) {
  Moments8 total = parts[cell * runs.runs];
  for (int64_t r = 1; r < runs.runs; ++r) total.merge(parts[cell * runs.runs + r]);
  return total;
}

inline std::vector<Sums8> sumRuns(const std::vector<Sums8>& parts, const Runs& runs) {
  std::vector<Sums8> cells(runs.cells());
  for (int64_t i = 0; i < runs.tasks(); ++i) cells[i / runs.runs].add(parts[i]);
  return cells;
}

/// Stores mean and biased variance of a cell at split·C + channel.
inline void storeMoments(const Moments8& m, int64_t at, int valid, float* mean, float* var) {
  for (int i = 0; i < valid; ++i) {
    mean[at + i] = static_cast<float>(m.mean[i]);
    var[at + i] = static_cast<float>(m.m2[i] / m.count);
  }
}

/// Merges the moments of all tasks into mean and var of every split and channel.
void storeCells(const std::vector<Moments8>& parts, const Runs& runs, int64_t channels, float* mean, float* var);

/// Moments of every split and channel into mean and var.
void computeMoments(const op::Act& x, int64_t splits, float* mean, float* var);

/// dgamma and dbeta (each may be null) from the sums of all cells; `rstd` is indexed as the statistics.
struct AffineSums {
  std::vector<Sums8> cells;
  void finish(int64_t splits, int64_t channels, const std::vector<float>& rstd, float* dgamma, float* dbeta) const;
};

/// Backward of a normalization by the statistics of splits: `sum(task, affine, sums)` over every split and channel,
/// `propagate(task, affine, sums)` from these to the Gradient8 of the cell, and `apply(task, affine, gradient)`.
template <class AffineOf, class Sum, class Propagate, class Apply>
AffineSums runBackward(const Runs& runs, const AffineOf& affineOf, const Sum& sum, const Propagate& propagate,
                       const Apply& apply) {
  if (runs.runs == 1) {
    // A split that is one task stays in the cache between its two passes.
    AffineSums total{std::vector<Sums8>(runs.cells())};
    parallelFor(runs.tasks(), [&](int64_t i) {
      const Runs::Task task = runs.task(i);
      const Affine8 affine = affineOf(task);
      sum(task, affine, total.cells[i]);
      apply(task, affine, propagate(task, affine, total.cells[i]));
    });
    return total;
  }
  std::vector<Sums8> parts(runs.tasks());
  parallelFor(runs.tasks(), [&](int64_t i) { sum(runs.task(i), affineOf(runs.task(i)), parts[i]); });
  AffineSums total{sumRuns(parts, runs)};
  std::vector<Gradient8> gradients(runs.cells());
  for (int64_t cell = 0; cell < runs.cells(); ++cell) {
    const Runs::Task task = runs.task(cell * runs.runs);
    gradients[cell] = propagate(task, affineOf(task), total.cells[cell]);
  }
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    apply(task, affineOf(task), gradients[task.cell]);
  });
  return total;
}

}  // namespace kn::cpu
