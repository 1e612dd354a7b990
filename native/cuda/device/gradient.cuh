#pragma once
#include "affine.cuh"
#include "../runtime/context.h"

/// The two passes of a normalization's gradient: sums over the rows, then dx from them.
namespace kn::cuda {

/// Of g and g·(x - center), g being the gradient behind the ReLU, for all chunks: entries cell·chunks + chunk.
struct GradientParts {
  float *g, *gx;

  static constexpr int kVectors = 2;
  static GradientParts in(float* memory, const Planes& p) { return {memory, memory + p.parts()}; }
};

/// dx = scale·(g + shift) + slope·(x - center) + offset. The mean gradient is subtracted before scaling (shift), so
/// that what cancels cancels without rounding, however small the variance.
template <int V>
struct Gradient {
  Pack<V> shift, slope, offset;
};

/// The vectors of it, indexed as the statistics; each may be null, for zeros.
struct GradientVectors {
  float *shift, *slope, *offset;
};

template <int V>
struct RowPair {
  Pack<V> x, dy;
};

/// The gradient behind the ReLU.
template <int V>
__device__ __forceinline__ float masked(const Affine<V>& affine, float x, float dy, int i, bool relu) {
  return relu && !(affine(x, i) > 0) ? 0 : dy;
}

/// Adds a row to the sums of g and g·(x - center).
template <int V>
__device__ __forceinline__ void addRow(const Affine<V>& affine, const RowPair<V>& row, bool relu, Pack<V> (&sums)[2]) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float g = masked(affine, row.x[i], row.dy[i], i, relu);
    sums[0][i] += g;
    sums[1][i] = fmaf(g, row.x[i] - affine.center[i], sums[1][i]);
  }
}

/// The sums of g and g·(x - center) over the block's chunk, complete where `place.leads()`. All threads of the block
/// must call it.
template <int V, class T>
__device__ __forceinline__ void gradientSums(const Planes& p, const Place& place, const T* x, const T* dy,
                                             const Affine<V>& affine, bool relu, Pack<V> (&sums)[2]) {
  sums[0] = sums[1] = broadcast<V>(0);
  walk<2>(
      p, place,
      [&](int64_t at) {
        return RowPair<V>{load<V>(x + at), load<V>(dy + at)};
      },
      [&](int64_t, const RowPair<V>& row) { addRow(affine, row, relu, sums); });
  sumLanes(p, sums);
}

template <int V>
__device__ __forceinline__ void storeSums(const GradientParts& parts, const Planes& p, const Place& place,
                                          const Pack<V> (&sums)[2]) {
  if (!place.leads()) return;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int64_t part = (place.cell + i) * p.chunks + place.chunk;
    parts.g[part] = sums[0][i];
    parts.gx[part] = sums[1][i];
  }
}

template <int V>
__device__ __forceinline__ Gradient<V> gradientOf(const GradientVectors& vectors, const Norm& norm, const Planes& p,
                                                  const Place& place) {
  return {statistics<V>(vectors.shift, norm, p, place), statistics<V>(vectors.slope, norm, p, place),
          statistics<V>(vectors.offset, norm, p, place)};
}

/// dx for the rows of a thread. `add` may be null; dx may be dy or `add`.
template <int V, class T>
__device__ __forceinline__ void gradientRows(const Planes& p, const Place& place, const T* x, const T* dy, const T* add,
                                             T* dx, const Affine<V>& affine, const Gradient<V>& gradient, bool relu) {
  struct Row {
    RowPair<V> pair;
    Pack<V> add;
  };
  walk<2>(
      p, place,
      [&](int64_t at) {
        return Row{{load<V>(x + at), load<V>(dy + at)}, add ? load<V>(add + at) : broadcast<V>(0)};
      },
      [&](int64_t at, const Row& row) {
        Pack<V> d;
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float v = row.pair.x[i], g = masked(affine, v, row.pair.dy[i], i, relu);
          const float straight = fmaf(v - affine.center[i], gradient.slope[i], gradient.offset[i]);
          d[i] = fmaf(g + gradient.shift[i], affine.scale[i], straight) + row.add[i];
        }
        store<V>(dx + at, d);
      });
}

// --- merging --------------------------------------------------------------------------------------------------------

/// One channel's sums over the splits: merges the chunks of each split in turn and calls `each(split, g, gx, totals)`
/// in one thread a split, which may add to the totals. The sums of those go to all threads. One block a channel,
/// teams of Team::of(chunks); all threads must call it.
template <int K, class Each>
__device__ __forceinline__ void overSplits(const GradientParts& parts, const Planes& p, const Team& team,
                                           int64_t channel, double (&totals)[K], const Each& each) {
#pragma unroll
  for (int k = 0; k < K; ++k) totals[k] = 0;
  for (int64_t begin = 0; begin < p.splits; begin += team.inBlock()) {
    const int64_t split = begin + team.inBlockIndex();
    double sums[2] = {0, 0};
    if (split < p.splits) {
      const int64_t first = (split * p.channels + channel) * p.chunks;
      for (int64_t i = team.member(); i < p.chunks; i += team.size) {
        sums[0] += parts.g[first + i];
        sums[1] += parts.gx[first + i];
      }
    }
    if (team.size > 1) sumTeam(team, sums);
    if (split < p.splits && team.member() == 0) each(split, sums[0], sums[1], totals);
  }
  sumTeam(Team{kBlockThreads}, totals);
}

/// What the first pass leaves, in scratch memory.
struct GradientSums {
  Planes planes;
  GradientParts parts;
  std::shared_ptr<Storage> memory;

  static GradientSums of(const Planes& p, Context& context) {
    auto memory = context.scratch(GradientParts::kVectors * p.parts() * sizeof(float));
    const GradientParts parts = GradientParts::in(static_cast<float*>(memory->data), p);
    return {p, parts, std::move(memory)};
  }
};

/// Enqueues the first pass.
GradientSums sumGradients(const op::Act& x, const op::Act& dy, int64_t splits, const Norm& norm, Context& context);

/// dgamma and dbeta (each may be null) from the sums.
void mergeGradients(const GradientSums& sums, const Norm& norm, float* dgamma, float* dbeta, Context& context);

/// Enqueues the second pass; `add` may have no data.
void applyGradients(const op::Act& x, const op::Act& dy, const op::Act& add, const op::Act& dx, int64_t splits,
                    const Norm& norm, const GradientVectors& vectors, Context& context);

}  // namespace kn::cuda
