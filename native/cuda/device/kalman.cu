#include "averaging.cuh"
#include "kernels.h"
#include "moments.cuh"
#include "sampling.cuh"

namespace kn::cuda {

// The blocks of the virtual samples, `virtualBlocks`, come before those of the real ones, so that the noise, which
// costs arithmetic, overlaps with passes that cost bandwidth.

/// Moments of the real samples (observation) and of the virtual ones (prior).
template <class T, int V>
__global__ void kalmanMoments(Planes real, MomentsTarget observation, Planes virtuals, MomentsTarget prior,
                              unsigned virtualBlocks, const T* x) {
  if (blockIdx.x < virtualBlocks) {
    const Place place = placeOf<V>(virtuals, blockIdx.x);
    storeChunk(prior, virtuals, place, chunkMoments<V>(virtuals, place, x));
  } else {
    const Place place = placeOf<V>(real, blockIdx.x - virtualBlocks);
    storeChunk(observation, real, place, chunkMoments<V>(real, place, x));
  }
}

/// Where the moments of a cell are more than one chunk. A team a cell.
__global__ void mergeKalmanMoments(Planes real, MomentParts observation, Planes virtuals, MomentParts prior, Team team,
                                   op::KalmanState state) {
  const int64_t cell = team.index();
  const bool active = cell < real.cells();
  const bool ofReal = active && observation.pivot, ofVirtual = active && prior.pivot;
  const MergedMoments a = mergeParts(observation, real, team, ofReal ? cell : 0, ofReal ? 1 : 0);
  const MergedMoments b = mergeParts(prior, virtuals, team, ofVirtual ? cell : 0, ofVirtual ? 1 : 0);
  if (team.member() != 0) return;
  if (ofReal) {
    state.obsMean[cell] = static_cast<float>(a.mean);
    state.obsVar[cell] = static_cast<float>(a.var);
  }
  if (ofVirtual) {
    state.priorMean[cell] = static_cast<float>(b.mean);
    state.priorVar[cell] = static_cast<float>(b.var);
  }
}

/// What prior and observation are weighed with.
struct Weighing {
  const float* gain;
  float fixedGain;

  /// p, the weight of the prior.
  __device__ __forceinline__ double prior(int64_t channel) const {
    return 1 - static_cast<double>(gain ? gain[channel] : fixedGain);
  }
};

/// Double divisions are slow on most GPUs: they are done only where a float can't hold the result.
__device__ __forceinline__ double quotient(float a, float b) {
  const float q = a / b;
  return isfinite(q) ? static_cast<double>(q) : static_cast<double>(a) / static_cast<double>(b);
}

/// Fuses prior and observation into the posterior. Each block finds the ratio of all cells for itself.
__global__ void fuseBeliefs(op::KalmanState s, Weighing weighing, int64_t cells, int64_t channels, double rows,
                            float guard) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlockThreads + threadIdx.x;
  double ratio[1] = {0};
  if (s.priorMean) {
    for (int64_t i = threadIdx.x; i < cells; i += kBlockThreads) ratio[0] += quotient(s.priorVar[i], s.obsVar[i]);
    sumTeam(Team{kBlockThreads}, ratio);
    ratio[0] /= static_cast<double>(cells);
  }
  const bool used = s.priorMean && ratio[0] < guard;
  if (first == 0) {
    s.ratio[0] = static_cast<float>(ratio[0]);
    s.ratio[1] = used;
  }
  const double unbiased = s.priorMean ? 1 : rows / (rows > 1 ? rows - 1 : 1);
  for (int64_t i = first; i < cells; i += static_cast<int64_t>(gridDim.x) * kBlockThreads) {
    const double mean = s.obsMean[i], var = s.obsVar[i];
    const double p = used ? weighing.prior(i % channels) : 0;
    if (p == 0) {
      s.postMean[i] = s.obsMean[i];
      s.postVar[i] = static_cast<float>(var * unbiased);
    } else {
      const double priorMean = s.priorMean[i], difference = mean - priorMean;
      s.postMean[i] = static_cast<float>(p * priorMean + (1 - p) * mean);
      s.postVar[i] = static_cast<float>(p * s.priorVar[i] + (1 - p) * var + p * (1 - p) * difference * difference);
    }
  }
}

/// Normalizes the real samples, and draws the virtual ones from the rectified posterior.
template <class T, int V>
__global__ void kalmanNormalize(Planes real, SampleCut virtuals, unsigned virtualBlocks, const T* x, T* y, Norm norm,
                                const float* postVar, Random random, const T* noise, Averaging averaging) {
  if (blockIdx.x < averaging.blocks) return moveAverages(averaging);
  const unsigned block = blockIdx.x - averaging.blocks;
  if (block < virtualBlocks) {
    const Place place = placeOf<V>(virtuals.quads, block);
    sampleQuads<V>(virtuals, place, norm.mean, postVar, Gaussian(random), noise, y);
  } else {
    const Place place = placeOf<V>(real, block - virtualBlocks);
    normalizeRows(real, place, x, y, affineOf<V>(norm, real, place), norm.relu);
  }
}

// --- backward -------------------------------------------------------------------------------------------------------

/// Sums for the gradient of the real samples, and for that of the belief through its virtual samples.
template <class T, int V>
__global__ void kalmanGradientSums(Planes real, GradientParts ofReal, Planes virtuals, GradientParts ofVirtual,
                                   unsigned virtualBlocks, const T* x, const T* y, const T* dy, Norm norm) {
  Pack<V> sums[2];
  if (blockIdx.x < virtualBlocks) {
    const Place place = placeOf<V>(virtuals, blockIdx.x);
    sampleSums(virtuals, place, y, dy, norm.mean, sums);
    storeSums(ofVirtual, virtuals, place, sums);
  } else {
    const Place place = placeOf<V>(real, blockIdx.x - virtualBlocks);
    gradientSums(real, place, x, dy, affineOf<V>(norm, real, place), norm.relu, sums);
    storeSums(ofReal, real, place, sums);
  }
}

/// From the sums, per cell: what dx is made of, for real and virtual samples.
struct KalmanVectors {
  GradientVectors real;
  float *slope, *offset;  ///< of the virtual samples; null where there are none

  static constexpr int kVectors = 5;
};

/// All that the gradient through the fusion depends on.
struct FusionGradient {
  Planes real, virtuals;
  GradientParts ofReal, ofVirtual;  ///< that of the virtuals is null where nothing was sampled
  Norm norm;
  op::KalmanState state;
  Weighing weighing;
  const float *dpostMean, *dpostVar;
  KalmanVectors vectors;
  float *dpriorMean, *dpriorVar, *dgamma, *dbeta, *dgain;
};

/// The sums of one cell.
struct CellSums {
  double g, gx, sampleG, sampleGx;
};

/// From the posterior's gradient to those of observation (for dx) and prior. `totals`: dgamma, dbeta, dgain.
__device__ __forceinline__ void propagateCell(const FusionGradient& f, int64_t cell, int64_t channel, bool used,
                                              double p, const CellSums& sums, double (&totals)[3]) {
  const op::KalmanState& s = f.state;
  const double rows = static_cast<double>(f.real.rows);
  const float rstd = reciprocalStd(f.norm.var[cell], f.norm.epsilon);
  const double r = rstd, scale = f.norm.gamma ? f.norm.gamma[channel] * rstd : rstd;
  double dmean = 0, dvar = -0.5 * scale * r * r * sums.gx;
  if (s.priorMean) {
    dmean = sums.sampleG + (f.dpostMean ? f.dpostMean[cell] : 0);
    dvar += varianceGradient(sums.sampleGx, s.postVar[cell]) + (f.dpostVar ? f.dpostVar[cell] : 0);
  }
  const double difference = used ? static_cast<double>(s.obsMean[cell]) - s.priorMean[cell] : 0;
  const double crossed = 2 * p * (1 - p) * difference * dvar;
  const double dobsMean = (1 - p) * dmean + crossed, slope = 2 * (1 - p) * dvar / rows;
  const double doutput = -scale * sums.g;
  const double dpriorMean = p * (doutput + dmean) - crossed, dpriorVar = p * dvar;
  totals[0] += sums.gx * r;
  totals[1] += sums.g;
  if (used) {
    const double spread = static_cast<double>(s.priorVar[cell]) - s.obsVar[cell];
    totals[2] += difference * (doutput + dmean) - (spread + (1 - 2 * p) * difference * difference) * dvar;
  }
  f.vectors.real.shift[cell] = static_cast<float>(-(1 - p) * sums.g / rows);
  f.vectors.real.slope[cell] = static_cast<float>(slope);
  f.vectors.real.offset[cell] =
      static_cast<float>(dobsMean / rows + slope * (static_cast<double>(s.postMean[cell]) - s.obsMean[cell]));
  if (f.vectors.slope) {
    const double pixels = static_cast<double>(f.virtuals.rows);
    f.vectors.slope[cell] = static_cast<float>(2 * dpriorVar / pixels);
    f.vectors.offset[cell] = static_cast<float>(dpriorMean / pixels);
  }
  if (f.dpriorMean) f.dpriorMean[cell] = static_cast<float>(dpriorMean);
  if (f.dpriorVar) f.dpriorVar[cell] = static_cast<float>(dpriorVar);
}

/// A block a channel, a team a split.
__global__ void propagateFusion(FusionGradient f, Team team) {
  const int64_t channel = blockIdx.x;
  const bool used = f.state.ratio[1] != 0;
  const double p = used ? f.weighing.prior(channel) : 0;
  double totals[3] = {0, 0, 0};
  for (int64_t begin = 0; begin < f.real.splits; begin += team.inBlock()) {
    const int64_t split = begin + team.inBlockIndex(), cell = split * f.real.channels + channel;
    const bool active = split < f.real.splits;
    double sums[4] = {0, 0, 0, 0};
    if (active) addParts(f.ofReal, f.real, team, cell, sums[0], sums[1]);
    if (active && f.ofVirtual.g) addParts(f.ofVirtual, f.virtuals, team, cell, sums[2], sums[3]);
    if (team.size > 1) sumTeam(team, sums);
    if (active && team.member() == 0) {
      propagateCell(f, cell, channel, used, p, {sums[0], sums[1], sums[2], sums[3]}, totals);
    }
  }
  sumTeam(Team{kBlockThreads}, totals);
  if (threadIdx.x == 0) {
    if (f.dgamma) f.dgamma[channel] = static_cast<float>(totals[0]);
    if (f.dbeta) f.dbeta[channel] = static_cast<float>(totals[1]);
    if (f.dgain) f.dgain[channel] = static_cast<float>(totals[2]);
  }
}

/// dx of real and virtual samples.
template <class T, int V>
__global__ void kalmanGradient(Planes real, Planes virtuals, unsigned virtualBlocks, const T* x, const T* dy,
                               const T* add, T* dx, Norm norm, KalmanVectors vectors, const float* priorMean) {
  if (blockIdx.x < virtualBlocks) {
    const Place place = placeOf<V>(virtuals, blockIdx.x);
    const Affine<V> slope{loadVector<V>(priorMean, place.cell), loadVector<V>(vectors.slope, place.cell),
                          loadVector<V>(vectors.offset, place.cell)};
    normalizeRows(virtuals, place, x, dx, slope, false);
  } else {
    const Place place = placeOf<V>(real, blockIdx.x - virtualBlocks);
    gradientRows(real, place, x, dy, add, dx, affineOf<V>(norm, real, place),
                 gradientOf<V>(vectors.real, norm, real, place), norm.relu);
  }
}

// --- launches -------------------------------------------------------------------------------------------------------

namespace {

/// More would only find the ratio once more.
constexpr int64_t kFuseBlocks = 32;

/// The samples of a layer's input without the virtual ones.
template <class Layer>
op::Act realSamples(const Layer& o) {
  return o.x.samples(0, o.x.n - (o.hasVirtual ? o.splits : 0));
}

/// The variance that a layer divides by: the posterior's, in the first layer the biased one of the batch.
template <class Layer>
Norm normOf(const Layer& o) {
  const op::KalmanState& s = o.state;
  return {s.postMean, s.priorMean ? s.postVar : s.obsVar, o.gamma, o.beta, o.epsilon, 1, o.relu};
}

unsigned blocksOf(const Planes& p, bool wanted) { return wanted ? static_cast<unsigned>(p.blocks()) : 0; }

/// Observation and prior, as far as they aren't given.
void observe(const op::KalmanNorm& o, Context& context) {
  if (o.haveMoments && !o.hasVirtual) return;
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const op::Act x = realSamples(o);
        const Planes real = planesOf(x, o.splits, V, kSumCut);
        const Planes virtuals = planesBehind(real, x.n * x.pixels(), x.pixels(), kSumCut);
        const bool mergeReal = !o.haveMoments && real.chunks > 1, mergeVirtual = o.hasVirtual && virtuals.chunks > 1;
        const int64_t realValues = mergeReal ? MomentParts::kVectors * real.parts() : 0;
        const int64_t virtualValues = mergeVirtual ? MomentParts::kVectors * virtuals.parts() : 0;
        const auto memory = context.scratch(std::max<int64_t>(1, realValues + virtualValues) * sizeof(float));
        float* const values = static_cast<float*>(memory->data);
        const MomentsTarget observation{mergeReal ? MomentParts::in(values, real) : MomentParts{}, o.state.obsMean,
                                        o.state.obsVar};
        const MomentsTarget prior{mergeVirtual ? MomentParts::in(values + realValues, virtuals) : MomentParts{},
                                  o.state.priorMean, o.state.priorVar};
        const unsigned virtualBlocks = blocksOf(virtuals, o.hasVirtual);
        launch(kalmanMoments<T, V>, virtualBlocks + blocksOf(real, !o.haveMoments), real.threads(), 0, context.stream,
               real, observation, virtuals, prior, virtualBlocks, o.x.values<T>());
        if (!mergeReal && !mergeVirtual) return;
        const Team team = Team::of(std::max(mergeReal ? real.chunks : 1, mergeVirtual ? virtuals.chunks : 1));
        launch(mergeKalmanMoments, team.grid(real.cells()), kBlockThreads, 0, context.stream, real, observation.parts,
               virtuals, prior.parts, team, o.state);
      },
      o.x.data);
}

}  // namespace

/// Needs 1 read of x, 1 write of y where a split fits on the chip or the moments are given; moves 1 read more of what
/// moments aren't given for. The virtual samples of x are read once, those of y written once; noise isn't read where it
/// is drawn. 3 launches: moments, fusion, normalization; 1 more where a cell is more than one chunk, 1 less where all
/// moments are given.
void run(const op::KalmanNorm& o, Context& context) {
  observe(o, context);
  const op::Act x = realSamples(o);
  const int64_t cells = o.splits * x.c;
  const double rows = static_cast<double>(x.n / o.splits * x.pixels());
  const int64_t blocks = std::min(kFuseBlocks, ceilDivide(cells, kBlockThreads));
  launch(fuseBeliefs, static_cast<unsigned>(blocks), kBlockThreads, 0, context.stream, o.state,
         Weighing{o.gain, o.fixedGain}, cells, x.c, rows, o.guard);
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes real = planesOf(x, o.splits, V, kMapCut);
        const SampleCut virtuals = samplesBehind(real, x.n, x);
        const unsigned virtualBlocks = blocksOf(virtuals.quads, o.sample);
        const auto averaging = Averaging::by(real.threads().x, o.running);
        launch(kalmanNormalize<T, V>, averaging.blocks + virtualBlocks + blocksOf(real, true), real.threads(), 0,
               context.stream, real, virtuals, virtualBlocks, o.x.values<T>(), o.y.values<T>(), normOf(o),
               o.state.postVar, o.random, o.noise.values<T>(), averaging);
      },
      o.x.data, o.y.data, o.noise.data, o.state.postMean, o.state.postVar, o.state.obsVar, o.gamma, o.beta);
}

/// Needs 1 read of x, dy and add, 1 write of dx where a split fits on the chip; moves 1 read more of x and dy. The
/// virtual samples of y and dy are read once, those of x read and those of dx written once. 3 launches: sums, gradient
/// through the fusion, dx.
void run(const op::KalmanNormBackward& o, Context& context) {
  const op::Act x = realSamples(o);
  const int64_t cells = o.splits * x.c, behind = x.n * x.pixels();
  const Norm norm = normOf(o);
  // In the first layer the statistics handed on carry no gradient (the reference's fused kernel drops it).
  const bool sampled = o.sample && o.state.priorMean;
  const auto memory = context.scratch(KalmanVectors::kVectors * cells * sizeof(float));
  float* const values = static_cast<float*>(memory->data);
  KalmanVectors vectors{{values, values + cells, values + 2 * cells}, nullptr, nullptr};
  if (o.hasVirtual) {
    vectors.slope = values + 3 * cells;
    vectors.offset = values + 4 * cells;
  }

  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const GradientSums ofReal = GradientSums::of(planesOf(x, o.splits, V, kSumCut), context);
        const Planes& real = ofReal.planes;
        const Planes virtuals = planesBehind(real, behind, x.pixels(), kSumCut);
        const GradientSums ofVirtual =
            sampled ? GradientSums::of(virtuals, context) : GradientSums{virtuals, {}, nullptr};
        const unsigned virtualBlocks = blocksOf(virtuals, sampled);
        launch(kalmanGradientSums<T, V>, virtualBlocks + blocksOf(real, true), real.threads(), 0, context.stream, real,
               ofReal.parts, virtuals, ofVirtual.parts, virtualBlocks, o.x.values<T>(), o.y.values<T>(),
               o.dy.values<T>(), norm);
        const Team team = Team::of(std::max(real.chunks, sampled ? virtuals.chunks : 1));
        const FusionGradient fusion{real,
                                    virtuals,
                                    ofReal.parts,
                                    ofVirtual.parts,
                                    norm,
                                    o.state,
                                    Weighing{o.gain, o.fixedGain},
                                    o.dpostMean,
                                    o.dpostVar,
                                    vectors,
                                    o.dpriorMean,
                                    o.dpriorVar,
                                    o.dgamma,
                                    o.dbeta,
                                    o.dgain};
        launch(propagateFusion, static_cast<unsigned>(x.c), kBlockThreads, 0, context.stream, fusion, team);
      },
      o.x.data, o.y.data, o.dy.data, norm.mean, norm.var, norm.gamma, norm.beta);

  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes real = planesOf(x, o.splits, V, kMapCut);
        const Planes virtuals = planesBehind(real, behind, x.pixels(), kMapCut);
        const unsigned virtualBlocks = blocksOf(virtuals, o.hasVirtual);
        launch(kalmanGradient<T, V>, virtualBlocks + blocksOf(real, true), real.threads(), 0, context.stream, real,
               virtuals, virtualBlocks, o.x.values<T>(), o.dy.values<T>(), o.add.values<T>(), o.dx.values<T>(), norm,
               vectors, o.state.priorMean);
      },
      o.x.data, o.dy.data, o.add.data, o.dx.data, norm.mean, norm.var, norm.gamma, norm.beta, o.state.priorMean,
      vectors.real.shift, vectors.real.slope, vectors.real.offset, vectors.slope, vectors.offset);
}

}  // namespace kn::cuda
