#include "affine.cuh"
#include "kernels.h"
#include "moments.cuh"
#include "tensor_batch.cuh"

namespace kn::cuda {

/// Each block works out the averages of its channels, from moments that none of them changes; the first ones keep them.
template <class T, int V>
__global__ void centerObserved(Planes p, SampleMoments moments, Team team, op::CenterObserved o, const T* y,
                               T* centered) {
  KN_SHARED(float, centers, [kMostPacks * V]);
  const Place place = placeOf<V>(p);
  const float share = averageShare(o.share, o.warmUp, *o.updates);
  const int channels = p.width * V, teams = p.width * p.threadRows / team.size;
  const int64_t first = static_cast<int64_t>(blockIdx.x % static_cast<unsigned>(p.slabs)) * channels;
  for (int begin = 0; begin < channels; begin += teams) {
    const int index = begin + team.inBlockIndex();
    const int64_t channel = first + index;
    const bool active = index < channels && channel < p.channels;
    const int64_t cell = active ? channel : 0;
    const MergedMoments seen = moments.of(team, cell, active);
    if (index >= channels || team.member() > 0) continue;
    const float mean = static_cast<float>(seen.mean), var = static_cast<float>(seen.var);
    const float center = fmaf(share, mean - o.center[cell], o.center[cell]), off = mean - center;
    centers[index] = center;
    if (place.chunk > 0 || !active) continue;
    o.next[channel] = center;
    o.next[p.channels + channel] = fmaf(share, fmaf(off, off, var) - o.variance[cell], o.variance[cell]);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) o.next[2 * p.channels] = share;
  __syncthreads();
  const int mine = static_cast<int>(threadIdx.x) % p.width * V;
  Affine<V> affine{broadcast<V>(0), broadcast<V>(1), broadcast<V>(0)};
#pragma unroll
  for (int i = 0; i < V; ++i) affine.center[i] = centers[mine + i];
  normalizeRows(p, place, y, centered, affine, false);
}

namespace {

template <int V>
__device__ __forceinline__ void averageSlope(const op::AverageObserved& o, float share, int64_t at) {
  const Pack<V> products = loadStored<V>(o.products.data, o.products.stored, at);
  Pack<V> slope = load<V>(o.slope + at);
#pragma unroll
  for (int i = 0; i < V; ++i) slope[i] = fmaf(share, fmaf(o.scale, products[i], -slope[i]), slope[i]);
  store<V>(o.slope + at, slope);
}

}  // namespace

/// 12 bytes a weight, 10 where the products are short. The first block moves the moments' averages.
__global__ void averageObserved(op::AverageObserved o) {
  constexpr int V = kWide<float>;
  const int thread = static_cast<int>(threadIdx.x);
  const float share = o.next[2 * o.channels];
  const Chunk chunk =
      chunkOf(blockIdx.x, o.products.count, (addressOf(o.products.data) | addressOf(o.slope)) % 16 == 0);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    averageSlope<V>(o, share, at);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) averageSlope<1>(o, share, at);
  if (blockIdx.x > 0) return;
  for (int64_t c = thread; c < o.channels; c += kItemThreads) {
    o.center[c] = o.next[c];
    o.variance[c] = o.next[o.channels + c];
  }
  // Unsigned, so that a counter that overflows wraps around.
  if (thread == 0) *o.updates = static_cast<int32_t>(static_cast<uint32_t>(*o.updates) + 1);
}

/// A block takes so many input channels, 32 bytes in a row, and all taps of their group on them.
constexpr int kChannels = 8;

__global__ void observedVarianceGradient(op::ObservedVarianceBackward o) {
  KN_SHARED(double, sums, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t taps = o.w.h * o.w.w, in = o.w.in, outputs = o.w.out / o.groups;
  const int64_t slabs = (in + kChannels - 1) / kChannels;
  for (int64_t task = blockIdx.x; task < o.groups * slabs; task += gridDim.x) {
    const int64_t group = task / slabs, channel = task % slabs * kChannels + thread % kChannels;
    double sum = 0;
    if (channel < in) {
      for (int64_t row = thread / kChannels; row < outputs * taps; row += kItemThreads / kChannels) {
        const int64_t out = group * outputs + row / taps;
        const int64_t at = (group * outputs * taps + row) * in + channel;
        const float gradient = o.scale(out) * o.shown.slope[at];
        o.dw.data[at] = gradient;
        sum += static_cast<double>(gradient) * o.w.data[at];
      }
    }
    sums[thread] = sum;
    __syncthreads();
    for (int half = kItemThreads / 2; half >= kChannels; half /= 2) {
      if (thread < half) sums[thread] += sums[thread + half];
      __syncthreads();
    }
    if (thread < kChannels && channel < in) o.finish(group * in + channel, sums[thread]);
    __syncthreads();
  }
}

/// Needs 1 read of y, 1 write of the result. Moves 1 more read of y. 2 launches: moments of chunks, centering; merging
/// besides where chunks are so many that each block would read about as much of them as of y.
void run(const op::CenterObserved& o, Context& context) {
  constexpr int kMostChunks = 32;
  std::shared_ptr<Storage> memory;
  const SampleMoments moments = computeParts(o.y, kMostChunks, memory, context);
  forPacks(
      o.y.stored, o.y.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(o.y, 1, V, kMapCut);
        Team team = Team::of(moments.parts.pivot ? moments.chunks.chunks : 1);
        while (p.width * p.threadRows % team.size != 0) team.size /= 2;
        launch(centerObserved<T, V>, p.grid(), p.threads(), 0, context.stream, p, moments, team, o, o.y.values<T>(),
               o.centered.values<T>());
      },
      o.y.data, o.centered.data);
}

/// Needs and moves: 1 read of the products, 1 read and write of the averages. 1 launch.
void run(const op::AverageObserved& o, Context& context) {
  launch(averageObserved, dim3(static_cast<unsigned>(std::max<int64_t>(1, blocksOf(o.products.count)))),
         dim3(kItemThreads), 0, context.stream, o);
}

/// Needs and moves: 1 read of w and slope, 1 write of dw. 1 launch.
void run(const op::ObservedVarianceBackward& o, Context& context) {
  launchTasks(context, o.groups * ceilDivide(o.w.in, kChannels), observedVarianceGradient, o);
}

}  // namespace kn::cuda
