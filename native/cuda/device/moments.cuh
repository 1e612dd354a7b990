#pragma once
#include "../runtime/context.h"
#include "planes.cuh"

/// Mean and variance in one pass: float sums of x - pivot and its square within a chunk, Chan's rule between chunks.
namespace kn::cuda {

/// Of the rows of a chunk. The mean is pivot + delta: apart they keep what one float couldn't hold at large means.
template <int V>
struct ChunkMoments {
  Pack<V> pivot, delta, m2;
};

/// The moments of all chunks: entries cell·chunks + chunk.
struct MomentParts {
  float *pivot, *delta, *m2;

  static constexpr int kVectors = 3;
  static MomentParts in(float* memory, const Planes& p) { return {memory, memory + p.parts(), memory + 2 * p.parts()}; }
};

/// Where the moments of chunks go: into parts, or straight to mean and var where a chunk is all of a cell.
struct MomentsTarget {
  MomentParts parts;  ///< null if not wanted
  float *mean, *var;
};

/// Near the mean of the chunk: the mean of four of its rows. `read(at)` gives the values at an index. A kernel that
/// overwrites them needs a barrier afterwards, for these are rows of other threads too.
template <int V, class Read>
__device__ __forceinline__ Pack<V> pivotOf(const Planes& p, const Place& place, const Read& read) {
  Pack<V> pivot = broadcast<V>(0);
  if (!place.active) return pivot;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const Pack<V> x = read(place.at(p, place.begin + (place.end - place.begin) * k / 4));
#pragma unroll
    for (int i = 0; i < V; ++i) pivot[i] = fmaf(0.25f, x[i], pivot[i]);
  }
  return pivot;
}

/// The moments of the block's chunk, complete where `place.leads()`. `value(at, read(at))` gives the values of a row;
/// it may also store them. All threads of the block must call it.
template <int V, class Read, class Value>
__device__ __forceinline__ ChunkMoments<V> chunkMoments(const Planes& p, const Place& place, const Pack<V>& pivot,
                                                        const Read& read, const Value& value) {
  Pack<V> sums[2] = {broadcast<V>(0), broadcast<V>(0)};
  walk<4>(p, place, read, [&](int64_t at, const auto& values) {
    const Pack<V> x = value(at, values);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const float d = x[i] - pivot[i];
      sums[0][i] += d;
      sums[1][i] = fmaf(d, d, sums[1][i]);
    }
  });
  sumLanes(p, sums);
  ChunkMoments<V> out;
  out.pivot = pivot;
  const float count = static_cast<float>(place.end - place.begin);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    out.delta[i] = sums[0][i] / count;
    const float m2 = fmaf(-sums[0][i], out.delta[i], sums[1][i]);
    // Only rounding makes it negative; NaN stays.
    out.m2[i] = m2 < 0 ? 0 : m2;
  }
  return out;
}

/// The moments of stored values.
template <int V, class T>
__device__ __forceinline__ ChunkMoments<V> chunkMoments(const Planes& p, const Place& place, const T* x) {
  const auto read = [&](int64_t at) { return load<V>(x + at); };
  return chunkMoments<V>(p, place, pivotOf<V>(p, place, read), read,
                         [](int64_t, const Pack<V>& values) { return values; });
}

template <int V>
__device__ __forceinline__ void storeChunk(const MomentsTarget& target, const Planes& p, const Place& place,
                                           const ChunkMoments<V>& moments) {
  if (!place.leads()) return;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int64_t cell = place.cell + i, part = cell * p.chunks + place.chunk;
    if (target.parts.pivot) {
      target.parts.pivot[part] = moments.pivot[i];
      target.parts.delta[part] = moments.delta[i];
      target.parts.m2[part] = moments.m2[i];
    } else {
      target.mean[cell] = moments.pivot[i] + moments.delta[i];
      target.var[cell] = moments.m2[i] / static_cast<float>(p.rows);
    }
  }
}

struct MergedMoments {
  double mean, var;
};

/// The moments of `cells` neighbouring cells, which all members of the team get; nothing for no cells. All threads of
/// the block must call it.
__device__ __forceinline__ MergedMoments mergeParts(const MomentParts& parts, const Planes& p, const Team& team,
                                                    int64_t cell, int64_t cells) {
  const int64_t first = cell * p.chunks, count = cells * p.chunks;
  const double origin = count ? static_cast<double>(parts.pivot[first]) + parts.delta[first] : 0;
  const int64_t lastRows = p.rows - (p.chunks - 1) * p.chunkRows;
  double sums[2] = {0, 0};
  for (int64_t i = team.member(); i < count; i += team.size) {
    const bool last = static_cast<uint64_t>(i + 1) % static_cast<unsigned>(p.chunks) == 0;
    const double rows = static_cast<double>(last ? lastRows : p.chunkRows);
    const double d = static_cast<double>(parts.pivot[first + i]) + parts.delta[first + i] - origin;
    sums[0] += rows * d;
    sums[1] += parts.m2[first + i] + rows * d * d;
  }
  sumTeam(team, sums);
  const double rows = static_cast<double>(p.rows * (cells > 0 ? cells : 1)), mean = sums[0] / rows;
  const double var = sums[1] / rows - mean * mean;
  return {origin + mean, var < 0 ? 0 : var};
}

/// Moments of all samples' channels: of chunks, for each block to merge what it reads, or merged.
struct SampleMoments {
  Planes chunks;
  MomentParts parts;  ///< null where they are merged
  float *mean, *var;

  /// Of a channel, or nothing where it isn't `active`. All threads of the block must call it.
  __device__ __forceinline__ MergedMoments of(const Team& team, int64_t channel, bool active) const {
    if (parts.pivot) return mergeParts(parts, chunks, team, channel, active ? 1 : 0);
    return {mean[channel], var[channel]};
  }
};

/// Enqueues moments that lie in `memory` afterwards, and merging where there are more chunks than `most`: every block
/// would read so much of them.
SampleMoments computeParts(const op::Act& x, int most, std::shared_ptr<Storage>& memory, Context& context);

/// Enqueues mean and biased variance of every split and every `perGroup` neighbouring channels.
void computeMoments(const op::Act& x, int64_t splits, int64_t perGroup, float* mean, float* var, Context& context);

}  // namespace kn::cuda
