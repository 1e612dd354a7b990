#include "channel_gradient.cuh"
#include "kernels.h"
#include "moments.cuh"

namespace kn::cuda {

/// The filter's work on a channel and its cells.
struct Filtering {
  op::AdaptiveFilter f;
  int64_t splits, channels;
  float* innovations;  ///< [2, splits·C]: of means, then of logarithms of variances; null if not wanted

  __device__ __forceinline__ adaptive::Channel at(int64_t channel) const { return {f.state, channels, channel}; }
  __device__ __forceinline__ bool primes(int64_t channel) const { return adaptive::primes(at(channel), f.options); }
  __device__ __forceinline__ bool primes(const Slab& slab) const {
    bool any = false;
    for (int i = 0; i < slab.count; ++i) any |= primes(slab.first + i);
    return any;
  }
  __device__ __forceinline__ adaptive::Belief belief(int64_t channel) const {
    return adaptive::beliefOf(f.priorOf(channel), at(channel), f.options);
  }

  /// Fuses belief and observation of a cell.
  __device__ __forceinline__ adaptive::Fused fuse(const adaptive::Belief& belief, int64_t cell) const {
    const adaptive::Fused fused = adaptive::fuse(belief, f.obsMean[cell], f.obsVar[cell], f.options);
    f.postMean[cell] = static_cast<float>(fused.mean);
    f.postVar[cell] = static_cast<float>(fused.var(f.options));
    f.gainMean[cell] = static_cast<float>(fused.gainMean);
    f.gainVar[cell] = static_cast<float>(fused.gainVar);
    return fused;
  }
  __device__ __forceinline__ void fuseAndKeep(int64_t channel, int64_t cell) const {
    const adaptive::Fused fused = fuse(belief(channel), cell);
    innovations[cell] = static_cast<float>(fused.innovation);
    innovations[splits * channels + cell] = static_cast<float>(fused.logInnovation);
  }

  /// Adds observations to what a channel is primed by: deviations from the first split's mean, so that large means
  /// don't cancel.
  __device__ __forceinline__ void pool(int64_t channel, int member, int members, double (&sums)[3]) const {
    const double origin = f.obsMean[channel];
    for (int64_t s = member; s < splits; s += members) {
      const double d = f.obsMean[s * channels + channel] - origin;
      sums[0] += d;
      sums[1] += d * d;
      sums[2] += f.obsVar[s * channels + channel];
    }
  }
  __device__ __forceinline__ void prime(int64_t channel, const double (&sums)[3]) const {
    const double count = static_cast<double>(splits), mean = sums[0] / count;
    adaptive::prime(f.priorOf(channel), f.obsMean[channel] + mean,
                    sums[2] / count + fmax(sums[1] / count - mean * mean, 0.0), at(channel), f.options);
  }

  /// The fields of adaptive::Tally.
  static constexpr int kSums = 8;

  /// Adds cells to the sums of a channel: fuses them first, or takes what was kept when they were.
  __device__ __forceinline__ void tally(int64_t channel, int member, int members, bool fuses,
                                        double (&sums)[kSums]) const {
    adaptive::Tally t;
    adaptive::Belief of;
    if (fuses) of = belief(channel);
    for (int64_t s = member; s < splits; s += members) {
      const int64_t cell = s * channels + channel;
      if (fuses) {
        t.add(fuse(of, cell), of, f.obsVar[cell], f.options);
      } else {
        const double innovation = innovations[cell];
        t.add(innovation, innovations[splits * channels + cell], f.gainMean[cell] * innovation, f.obsVar[cell],
              f.postVar[cell]);
      }
    }
    const double all[kSums] = {t.i, t.i2, t.j, t.j2, t.var, t.mean, t.mean2, t.postVar};
#pragma unroll
    for (int k = 0; k < kSums; ++k) sums[k] += all[k];
  }
  /// Writes what is believed of a channel, and moves its state.
  __device__ __forceinline__ void advance(int64_t channel, const double (&sums)[kSums]) const {
    const adaptive::Belief of = belief(channel);
    f.beliefMean[channel] = static_cast<float>(of.mean);
    f.beliefVar[channel] = static_cast<float>(of.var(f.options));
    if (f.normalizedVar) f.normalizedVar[channel] = f.gamma[channel] * f.gamma[channel];
    const adaptive::Tally all{sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
    adaptive::advance(f.priorOf(channel), of, all, splits, f.upstreamOf(channel, channels), at(channel), f.options,
                      f.runningMean[channel], f.runningVar[channel]);
  }
};

/// Primes channels, tallies their cells and moves their state. All threads of the block must call it.
__device__ __forceinline__ void filterChannels(const Filtering& filter, int64_t first, int count, int threads,
                                               bool primes, bool fuses) {
  if (primes) {
    overChannels<3>(
        first, count, filter.splits, threads,
        [&](int64_t channel, int member, int members, double(&sums)[3]) {
          filter.pool(channel, member, members, sums);
        },
        [&](int64_t channel, const double(&sums)[3]) {
          if (filter.primes(channel)) filter.prime(channel, sums);
        });
    __syncthreads();
  }
  constexpr int K = Filtering::kSums;
  overChannels<K>(
      first, count, filter.splits, threads,
      [&](int64_t channel, int member, int members, double(&sums)[K]) {
        filter.tally(channel, member, members, fuses, sums);
      },
      [&](int64_t channel, const double(&sums)[K]) { filter.advance(channel, sums); });
}

/// Fuses belief and observation of every split, and moves the filter's state. A block a channel.
__global__ void adaptiveFuse(Filtering filter) {
  const int64_t channel = blockIdx.x;
  filterChannels(filter, channel, 1, kBlockThreads, filter.primes(channel), true);
}

/// Where a split is one block's: moments, unless they are given, filter and normalization. A first step, which corrects
/// by all splits what each is fused with, is for the last block of a slab, alone: slower, but once in a training.
template <class T, int V>
__global__ void adaptiveNormalizeWhole(Planes p, const T* x, T* y, Filtering filter, bool haveMoments, Norm norm,
                                       unsigned* tickets) {
  const Place place = placeOf<V>(p);
  const Slab slab = Slab::ofBlock<V>(p);
  const int threads = p.width * p.threadRows;
  if (!haveMoments) {
    storeChunk(MomentsTarget{{}, filter.f.obsMean, filter.f.obsVar}, p, place, chunkMoments<V>(p, place, x));
  }
  __syncthreads();
  if (!filter.primes(slab)) {
    for (int i = static_cast<int>(threadIdx.x); i < slab.count; i += threads) {
      filter.fuseAndKeep(slab.first + i, place.split * p.channels + slab.first + i);
    }
    __syncthreads();
    normalizeRows(p, place, x, y, affineOf<V>(norm, p, place), norm.relu);
  }
  finishSlabs<V>(p, tickets, [&](const Slab& last) {
    const bool primes = filter.primes(last);
    filterChannels(filter, last.first, last.count, threads, primes, primes);
    if (!primes) return;
    __syncthreads();
    for (unsigned split = 0; split < p.splits; ++split) {
      const Place there = placeOf<V>(p, split * p.slabs + last.number);
      normalizeRows(p, there, x, y, affineOf<V>(norm, p, there), norm.relu);
    }
  });
}

/// See channel_gradient.cuh.
struct AdaptiveGradient {
  static constexpr int kVectors = 3, kTerms = 4;
  Norm norm;
  op::AdaptiveKalmanNormBackward o;

  __device__ __forceinline__ void cell(const Planes& p, int64_t split, int64_t channel, double g, double gx,
                                       const GradientVectors& vectors, double (&terms)[kTerms]) const {
    const int64_t cell = split * p.channels + channel;
    const float gamma = norm.gamma ? norm.gamma[channel] : 1, rstd = reciprocalStd(norm.var[cell], norm.epsilon);
    const adaptive::CellGradient d = adaptive::cellGradient(
        g, gx, gamma * rstd, static_cast<double>(p.rows), o.postMean[cell], o.obsMean[cell], o.obsVar[cell],
        o.observationShare(o.gainMean[cell]), o.observationShare(o.gainVar[cell]), o.epsilon);
    vectors.shift[cell] = static_cast<float>(d.shift);
    vectors.slope[cell] = static_cast<float>(d.slope);
    vectors.offset[cell] = static_cast<float>(d.offset);
    terms[0] = gx * rstd;
    terms[1] = g;
    terms[2] = d.dmean;
    terms[3] = d.dlogVar;
  }
  __device__ __forceinline__ void channel(int64_t channel, const double (&totals)[kTerms]) const {
    if (o.dgamma) o.dgamma[channel] = static_cast<float>(totals[0]) + o.throughSquare(channel);
    if (o.dbeta) o.dbeta[channel] = static_cast<float>(totals[1]);
    if (!o.dpriorMean) return;
    const double dmean = totals[2] + (o.dbeliefMean ? o.dbeliefMean[channel] : 0);
    const double believed = static_cast<double>(o.beliefVar[channel]) + o.epsilon;
    const double dlogVar = totals[3] + (o.dbeliefVar ? o.dbeliefVar[channel] * believed : 0);
    const adaptive::PriorGradient d = adaptive::priorGradient(dmean, dlogVar, o.priorMean[channel], o.priorVar[channel],
                                                              o.beliefMean[channel], o.epsilon);
    o.dpriorMean[channel] = static_cast<float>(d.mean);
    o.dpriorVar[channel] = static_cast<float>(d.var);
  }
};

/// Needs 1 read of x, 1 write of y where a split fits on the chip or the moments are given; moves 1 read more for
/// moments that aren't given, unless a split is one block's. Then 1 launch, else 3: moments, filter, normalization; 1
/// more where a cell is more than one chunk.
void run(const op::AdaptiveKalmanNorm& o, Context& context) {
  const op::AdaptiveFilter& f = o.filter;
  const Norm norm{f.postMean, f.postVar, f.gamma, o.beta, f.options.epsilon, 1, o.relu};
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const Planes p = wholeSplits<T, V>(o.x, o.splits);
        if (p.chunks == 1) {
          const auto memory = context.scratch(2 * p.cells() * sizeof(float));
          const Filtering filter{f, o.splits, o.x.c, static_cast<float*>(memory->data)};
          return launch(adaptiveNormalizeWhole<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.x.values<T>(),
                        o.y.values<T>(), filter, o.haveMoments, norm, context.tickets);
        }
        if (!o.haveMoments) computeMoments(o.x, o.splits, 1, f.obsMean, f.obsVar, context);
        launch(adaptiveFuse, dim3(static_cast<unsigned>(o.x.c)), kBlockThreads, 0, context.stream,
               Filtering{f, o.splits, o.x.c, nullptr});
        applyNorm(o.x, o.y, o.splits, norm, context);
      },
      o.x.data, o.y.data, norm.mean, norm.var, norm.gamma, norm.beta);
}

/// Needs 1 read of x, dy and add, 1 write of dx where a split fits on the chip; moves 1 read more of x and dy, unless a
/// split is one block's. Then 1 launch, else 3: sums, gradient through the filter, dx.
void run(const op::AdaptiveKalmanNormBackward& o, Context& context) {
  const AdaptiveGradient rule{{o.postMean, o.postVar, o.gamma, o.beta, o.epsilon, 1, o.relu}, o};
  channelGradient(o.x, o.dy, o.add, o.dx, o.splits, rule, context);
}

}  // namespace kn::cuda
