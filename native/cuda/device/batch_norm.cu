#include "averaging.cuh"
#include "channel_gradient.cuh"
#include "kernels.h"
#include "moments.cuh"

namespace kn::cuda {

template <class T, int V>
__global__ void normalizeForward(Planes p, const T* x, T* y, Norm norm, Averaging averaging) {
  if (blockIdx.x < averaging.blocks) return moveAverages(averaging);
  const Place place = placeOf<V>(p, blockIdx.x - averaging.blocks);
  normalizeRows(p, place, x, y, affineOf<V>(norm, p, place), norm.relu);
}

/// Where a split is one block's: its moments too, and the running averages.
template <class T, int V>
__global__ void normalizeWhole(Planes p, const T* x, T* y, Norm norm, float* mean, float* var,
                               op::UpdateRunning running, unsigned* tickets) {
  const Place place = placeOf<V>(p);
  storeChunk(MomentsTarget{{}, mean, var}, p, place, chunkMoments<V>(p, place, x));
  __syncthreads();
  normalizeRows(p, place, x, y, affineOf<V>(norm, p, place), norm.relu);
  if (!running.runningMean) return;
  finishSlabs<V>(p, tickets, [&](const Slab& slab) {
    overChannels<2>(
        slab.first, slab.count, p.splits, p.width * p.threadRows,
        [&](int64_t channel, int member, int members, double(&sums)[2]) {
          addStatistics(running, channel, member, members, sums);
        },
        [&](int64_t channel, const double(&sums)[2]) { moveAverage(running, channel, sums); });
  });
}

/// With statistics that carry no gradient dx needs no sums: both passes are one.
template <class T, int V>
__global__ void normalizeBackward(Planes p, const T* x, const T* dy, T* dx, Norm norm, GradientParts parts) {
  const Place place = placeOf<V>(p);
  const Affine<V> affine = affineOf<V>(norm, p, place);
  Pack<V> sums[2] = {broadcast<V>(0), broadcast<V>(0)};
  walk<2>(
      p, place,
      [&](int64_t at) {
        return RowPair<V>{load<V>(x + at), load<V>(dy + at)};
      },
      [&](int64_t at, const RowPair<V>& row) {
        addRow(affine, row, norm.relu, sums);
        Pack<V> d;
#pragma unroll
        for (int i = 0; i < V; ++i) d[i] = masked(affine, row.x[i], row.dy[i], i, norm.relu) * affine.scale[i];
        store<V>(dx + at, d);
      });
  sumLanes(p, sums);
  storeSums(parts, p, place, sums);
}

template <class T, int V>
__global__ void gradientSumsOfChunks(Planes p, const T* x, const T* dy, Norm norm, GradientParts parts) {
  const Place place = placeOf<V>(p);
  Pack<V> sums[2];
  gradientSums(p, place, x, dy, affineOf<V>(norm, p, place), norm.relu, sums);
  storeSums(parts, p, place, sums);
}

/// See channel_gradient.cuh.
struct BatchGradient {
  static constexpr int kVectors = 2, kTerms = 2;
  Norm norm;
  float *dgamma, *dbeta;  ///< each may be null

  /// `vectors` may be null: then nothing flows through the statistics.
  __device__ __forceinline__ void cell(const Planes& p, int64_t split, int64_t channel, double g, double gx,
                                       const GradientVectors& vectors, double (&terms)[kTerms]) const {
    const int64_t at = norm.index(p, split, channel);
    const double r = reciprocalStd(norm.var ? norm.var[at] : 0, norm.epsilon);
    terms[0] = gx * r;
    terms[1] = g;
    if (!vectors.shift) return;
    const double rows = static_cast<double>(p.rows), gamma = norm.gamma ? norm.gamma[channel] : 1;
    vectors.shift[at] = static_cast<float>(-g / rows);
    vectors.slope[at] = static_cast<float>(-gamma * r * r * r * gx / rows);
  }
  __device__ __forceinline__ void channel(int64_t channel, const double (&totals)[kTerms]) const {
    if (dgamma) dgamma[channel] = static_cast<float>(totals[0]);
    if (dbeta) dbeta[channel] = static_cast<float>(totals[1]);
  }
};

template <class T, int V>
__global__ void gradientOfRows(Planes p, const T* x, const T* dy, const T* add, T* dx, Norm norm,
                               GradientVectors vectors) {
  const Place place = placeOf<V>(p);
  gradientRows(p, place, x, dy, add, dx, affineOf<V>(norm, p, place), gradientOf<V>(vectors, norm, p, place),
               norm.relu);
}

void applyNorm(const op::Act& x, const op::Act& y, int64_t splits, const Norm& norm, Context& context,
               const op::UpdateRunning& running) {
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(x, splits, V, kMapCut);
        const auto averaging = Averaging::by(p.threads().x, running);
        launch(normalizeForward<T, V>, averaging.blocks + static_cast<unsigned>(p.blocks()), p.threads(), 0,
               context.stream, p, x.values<T>(), y.values<T>(), norm, averaging);
      },
      x.data, y.data, norm.mean, norm.var, norm.gamma, norm.beta);
}

GradientSums sumGradients(const op::Act& x, const op::Act& dy, int64_t splits, const Norm& norm, Context& context) {
  GradientSums sums;
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(x, splits, V, kSumCut);
        sums = GradientSums::of(p, context);
        launch(gradientSumsOfChunks<T, V>, p.grid(), p.threads(), 0, context.stream, p, x.values<T>(), dy.values<T>(),
               norm, sums.parts);
      },
      x.data, dy.data, norm.mean, norm.var, norm.gamma, norm.beta);
  return sums;
}

void mergeGradients(const GradientSums& sums, const Norm& norm, float* dgamma, float* dbeta, Context& context) {
  const Planes& p = sums.planes;
  launch(mergeGradientSums<BatchGradient>, dim3(static_cast<unsigned>(p.channels)), kBlockThreads, 0, context.stream, p,
         sums.parts, Team::of(p.chunks), BatchGradient{norm, dgamma, dbeta}, GradientVectors{});
}

void applyGradients(const op::Act& x, const op::Act& dy, const op::Act& add, const op::Act& dx, int64_t splits,
                    const Norm& norm, const GradientVectors& vectors, Context& context) {
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(x, splits, V, kMapCut);
        launch(gradientOfRows<T, V>, p.grid(), p.threads(), 0, context.stream, p, x.values<T>(), dy.values<T>(),
               add.values<T>(), dx.values<T>(), norm, vectors);
      },
      x.data, dy.data, add.data, dx.data, norm.mean, norm.var, norm.gamma, norm.beta, vectors.shift, vectors.slope,
      vectors.offset);
}

/// Needs and moves: 1 read of x, 1 write of y.
void run(const op::Normalize& o, Context& context) {
  applyNorm(o.x, o.y, 1, {o.mean, o.var, o.gamma, o.beta, o.epsilon, 1, o.relu}, context);
}

/// Needs and moves: 1 read of x and dy, 1 write of dx.
void run(const op::NormalizeBackward& o, Context& context) {
  const Norm norm{o.mean, o.var, o.gamma, o.beta, o.epsilon, 1, o.relu};
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const GradientSums sums = GradientSums::of(planesOf(o.x, 1, V, kSumCut), context);
        const Planes& p = sums.planes;
        launch(normalizeBackward<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.x.values<T>(), o.dy.values<T>(),
               o.dx.values<T>(), norm, sums.parts);
        if (o.dgamma || o.dbeta) mergeGradients(sums, norm, o.dgamma, o.dbeta, context);
      },
      o.x.data, o.dy.data, o.dx.data, o.mean, o.var, o.gamma, o.beta);
}

/// Needs 1 read of x, 1 write of y where the moments are given or a split fits on the chip. Moves 1 read more for
/// moments that aren't given, unless a split is one block's.
void run(const op::BatchNorm& o, Context& context) {
  const Norm norm{o.mean, o.var, o.gamma, o.beta, o.epsilon, 1, o.relu};
  if (o.haveMoments) return applyNorm(o.x, o.y, o.splits, norm, context, o.running);
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const Planes p = wholeSplits<T, V>(o.x, o.splits);
        if (p.chunks == 1) {
          return launch(normalizeWhole<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.x.values<T>(),
                        o.y.values<T>(), norm, o.mean, o.var, o.running, context.tickets);
        }
        computeMoments(o.x, o.splits, 1, o.mean, o.var, context);
        applyNorm(o.x, o.y, o.splits, norm, context, o.running);
      },
      o.x.data, o.y.data, norm.mean, norm.var, norm.gamma, norm.beta);
}

/// Needs 1 read of x, dy and add, 1 write of dx where a split fits on the chip. Moves 1 read more of x and dy, unless a
/// split is one block's.
void run(const op::BatchNormBackward& o, Context& context) {
  const BatchGradient rule{{o.mean, o.var, o.gamma, o.beta, o.epsilon, 1, o.relu}, o.dgamma, o.dbeta};
  channelGradient(o.x, o.dy, o.add, o.dx, o.splits, rule, context);
}

}  // namespace kn::cuda
