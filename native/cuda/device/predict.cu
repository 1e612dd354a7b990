#include "kernels.h"
#include "multiply.cuh"
#include "predict.cuh"
#include "sampling.cuh"

/// The transition of a belief of several splits: products of matrices, and forms of them. Small ones of a single split:
/// predict_shared.cu.
namespace kn::cuda {

/// What β is multiplied by, for each pair of input and output channel: `variance`, and half of its derivative by the
/// taps, `derivative`, where that isn't null. From a slope that is shown: what β would be multiplied by if it were one,
/// twice, as ShownSlope::ofInput wants it. A thread a pair; all threads of the block must call it.
__device__ __forceinline__ void filterTerms(const PredictShape& shape, int64_t pair, const float* w, const float* slope,
                                            float* variance, float* derivative) {
  const FilterForms forms = filterForms(shape);
  if (pair >= shape.out * shape.in) return;
  const int64_t first = pair / shape.in * shape.taps() * shape.in + pair % shape.in;
  float sum = 0;
  for (int y = 0; y < forms.rows; ++y) {
    for (int x = 0; x < forms.columns; ++x) {
      const int64_t at = first + (y * forms.columns + x) * shape.in;
      const float half = slope ? slope[at] / 2 : forms.half(w + first, shape.in, y, x);
      if (derivative) derivative[at] = half;
      sum = fmaf(w[at], half, sum);
    }
  }
  variance[pair] = slope ? 2 * sum : sum;
}

/// Blocks below `beliefBlocks` rectify beliefs: α and β. The others work on the filter. A slope that is shown takes β
/// as one, and the gradients of the output variances as `scales`.
__global__ void predictTerms(PredictShape shape, unsigned beliefBlocks, const float* mean, const float* var,
                             float* alpha, float* beta, const float* w, op::ShownSlope shown, const float* doutVar,
                             float* scales, float* variance, float* derivative) {
  const int64_t item = firstItem();
  if (blockIdx.x >= beliefBlocks) {
    const int64_t pair = item - static_cast<int64_t>(beliefBlocks) * kItemThreads;
    if (shown.slope && pair < shape.out) scales[pair] = shown.scale(pair, doutVar[pair]);
    filterTerms(shape, pair, w, shown.slope, variance, derivative);
  } else if (item < shape.splits * shape.in) {
    const Rectified r = inputMoments(mean[item], var[item], shape.rectified);
    alpha[item] = static_cast<float>(r.mean);
    beta[item] = shown.slope ? 1 : static_cast<float>(r.var);
  }
}

/// P [splits, out·taps] of α; the blocks from `tapTiles` on: the mean variance [splits, out] of β.
__global__ void predictProducts(PredictShape shape, unsigned tapTiles, const float* alpha, const float* beta,
                                const float* w, const float* variance, float* p, float* meanVariance) {
  if (blockIdx.x < tapTiles) {
    multiplyRows(blockIdx.x, alpha, shape.splits, w, shape.outputTaps(), shape.in, p);
  } else {
    multiplyRows(blockIdx.x - tapTiles, beta, shape.splits, variance, shape.out, shape.in, meanVariance);
  }
}

/// A thread an output of a split.
__global__ void predictMoments(PredictShape shape, const float* p, const float* meanVariance, float* outMean,
                               float* outVar) {
  const MeanForms forms = meanForms(shape);
  const int64_t item = firstItem();
  if (item >= shape.splits * shape.out) return;
  const float* const taps = p + item * shape.taps();
  const double mean = forms.mean(taps);
  double var = meanVariance[item];
  for (int y = 0; y < forms.rows; ++y) {
    for (int x = 0; x < forms.columns; ++x) {
      var += taps[y * forms.columns + x] * forms.deviation(taps, mean, y, x);
    }
  }
  outMean[item] = static_cast<float>(mean);
  outVar[item] = varianceOf(var);
}

/// The gradient of P. A thread a tap of an output of a split.
__global__ void predictTapGradient(PredictShape shape, const float* p, const float* doutMean, const float* doutVar,
                                   float* dp) {
  const MeanForms forms = meanForms(shape);
  const int64_t item = firstItem();
  if (item >= shape.splits * shape.outputTaps()) return;
  const int64_t output = item / shape.taps();
  const int tap = static_cast<int>(item % shape.taps()), y = tap / forms.columns, x = tap % forms.columns;
  dp[item] = forms.gradient(p + output * shape.taps(), y, x, doutMean[output], doutVar ? doutVar + output : nullptr);
}

/// Gradients of α and β, and of the belief through its rectification.
__global__ void predictBeliefGradient(PredictShape shape, const float* mean, const float* var, const float* dp,
                                      const float* w, const float* doutVar, const float* variance, bool shown,
                                      float* dmean, float* dvar) {
  const TilePlace place(blockIdx.x, shape.splits);
  const float dalpha = multiplyTile({dp, shape.splits, shape.outputTaps(), 1}, place.firstRow,
                                    {w, shape.in, 1, shape.in}, place.firstColumn, shape.outputTaps());
  const float dbeta = doutVar ? multiplyTile({doutVar, shape.splits, shape.out, 1}, place.firstRow,
                                             {variance, shape.in, 1, shape.in}, place.firstColumn, shape.out)
                              : 0;
  if (place.row >= shape.splits || place.column >= shape.in) return;
  const int64_t cell = place.row * shape.in + place.column;
  const Rectified r = inputMoments(mean[cell], var[cell], shape.rectified);
  storeBeliefGradient(r, dalpha, shown ? op::ShownSlope::ofInput(dbeta, r.var) : dbeta, dmean[cell], dvar[cell]);
}

/// Through P, and through what β is multiplied by.
__global__ void predictFilterGradient(PredictShape shape, const float* dp, const float* alpha, const float* doutVar,
                                      const float* beta, const float* derivative, float* dw) {
  const int64_t rows = shape.outputTaps();
  const TilePlace place(blockIdx.x, rows);
  const float straight = multiplyTile({dp, rows, 1, rows}, place.firstRow, {alpha, shape.in, 1, shape.in},
                                      place.firstColumn, shape.splits);
  const float dvariance =
      doutVar ? multiplyTile({doutVar, rows, 1, shape.out, static_cast<int>(shape.taps())}, place.firstRow,
                             {beta, shape.in, 1, shape.in}, place.firstColumn, shape.splits)
              : 0;
  if (place.row >= rows || place.column >= shape.in) return;
  const int64_t at = place.row * shape.in + place.column;
  dw[at] = fmaf(2 * dvariance, derivative[at], straight);
}

// --- launches -------------------------------------------------------------------------------------------------------

namespace {

unsigned itemBlocks(int64_t items) { return static_cast<unsigned>(ceilDivide(items, kItemThreads)); }

/// Scratch memory of both directions; what only one of them needs is null in the other.
struct PredictMemory {
  std::shared_ptr<Storage> storage;
  float *alpha, *beta, *variance, *p, *meanVariance, *derivative, *dp, *scales;

  PredictMemory(const PredictShape& shape, bool backward, Context& context) {
    const int64_t cells = shape.cells(), pairs = shape.out * shape.in, products = shape.splits * shape.outputTaps();
    const int64_t outputs = backward ? 0 : shape.splits * shape.out;
    const int64_t more = backward ? shape.outputTaps() * shape.in + products + shape.out : 0;
    storage = context.scratch((2 * cells + pairs + products + outputs + more) * sizeof(float));
    alpha = static_cast<float*>(storage->data);
    beta = alpha + cells;
    variance = beta + cells;
    p = variance + pairs;
    meanVariance = backward ? nullptr : p + products;
    dp = backward ? p + products : nullptr;
    scales = backward ? dp + products : nullptr;
    derivative = backward ? scales + shape.out : nullptr;
  }
};

template <class Op>
void launchTerms(const Op& o, const op::ShownSlope& shown, const float* doutVar, const PredictShape& shape,
                 const PredictMemory& memory, Context& context) {
  const unsigned beliefBlocks = itemBlocks(shape.cells());
  launch(predictTerms, beliefBlocks + itemBlocks(shape.out * shape.in), kItemThreads, 0, context.stream, shape,
         beliefBlocks, o.mean, o.var, memory.alpha, memory.beta, o.w.data, shown, doutVar, memory.scales,
         memory.variance, memory.derivative);
}

/// P and, forward, the mean variance.
template <class Op>
void launchProducts(const Op& o, const PredictShape& shape, const PredictMemory& memory, Context& context) {
  const unsigned tapTiles = tilesOf(shape.splits, shape.outputTaps());
  const unsigned outputTiles = memory.meanVariance ? tilesOf(shape.splits, shape.out) : 0;
  launch(predictProducts, tapTiles + outputTiles, kItemThreads, 0, context.stream, shape, tapTiles, memory.alpha,
         memory.beta, o.w.data, memory.variance, memory.p, memory.meanVariance);
}

}  // namespace

/// Needs 1 read of the filter and the belief. Shared beliefs: 1 launch (predict_shared.cu). Others move 2 reads of the
/// filter, and write and read P, a float a split, output and tap; all of it is small, and stays in the caches. 3
/// launches: terms, products, moments.
void run(const op::Predict& o, Context& context) {
  const PredictShape shape = PredictShape::of(o);
  if (isShared(shape)) return predictShared(o, shape, context);
  const PredictMemory memory(shape, false, context);
  launchTerms(o, {}, nullptr, shape, memory, context);
  launchProducts(o, shape, memory, context);
  launch(predictMoments, itemBlocks(shape.splits * shape.out), kItemThreads, 0, context.stream, shape, memory.p,
         memory.meanVariance, o.outMean, o.outVar);
}

/// Needs 1 read of the filter and the belief, 1 write of their gradients. Shared beliefs: 2 launches
/// (predict_shared.cu). Others move 3 reads of the filter, write and read P, its gradient, and a vector as large as the
/// filter. 5 launches: terms, products, gradients of P, of the belief, of the filter; without products, 4, where
/// nothing comes through the closed form of the variance. A slope that is shown is read besides.
void run(const op::PredictBackward& o, Context& context) {
  const PredictShape shape = PredictShape::of(o);
  if (isShared(shape)) return predictShared(o, shape, context);
  const PredictMemory memory(shape, true, context);
  launchTerms(o, o.shown, o.doutVar, shape, memory, context);
  if (o.closedVar()) launchProducts(o, shape, memory, context);
  const float* const dvariance = o.shown.slope ? memory.scales : o.doutVar;
  launch(predictTapGradient, itemBlocks(shape.splits * shape.outputTaps()), kItemThreads, 0, context.stream, shape,
         memory.p, o.doutMean, o.closedVar(), memory.dp);
  launch(predictBeliefGradient, tilesOf(shape.splits, shape.in), kItemThreads, 0, context.stream, shape, o.mean, o.var,
         memory.dp, o.w.data, dvariance, memory.variance, o.shown.slope != nullptr, o.dmean, o.dvar);
  launch(predictFilterGradient, tilesOf(shape.outputTaps(), shape.in), kItemThreads, 0, context.stream, shape,
         memory.dp, memory.alpha, dvariance, memory.beta, memory.derivative, o.dw.data);
}

__global__ void rectifyBelief(op::RectifyBelief o) {
  const int64_t i = firstItem();
  if (i >= o.count) return;
  const Rectified r = rectify(o.mean[i], o.var[i]);
  o.outMean[i] = static_cast<float>(r.mean);
  o.outVar[i] = static_cast<float>(r.var);
}

__global__ void rectifyBeliefBackward(op::RectifyBeliefBackward o) {
  const int64_t i = firstItem();
  if (i >= o.count) return;
  storeBeliefGradient(rectify(o.mean[i], o.var[i]), o.doutMean[i], o.doutVar[i], o.dmean[i], o.dvar[i]);
}

/// Needs and moves: 1 read of the belief, 1 write of the result. 1 launch.
void run(const op::RectifyBelief& o, Context& context) {
  launch(rectifyBelief, itemBlocks(o.count), kItemThreads, 0, context.stream, o);
}

/// Needs and moves: 1 read of the belief and the gradients, 1 write of the result. 1 launch.
void run(const op::RectifyBeliefBackward& o, Context& context) {
  launch(rectifyBeliefBackward, itemBlocks(o.count), kItemThreads, 0, context.stream, o);
}

template <class T, int V>
__global__ void samplePrior(SampleCut cut, const float* mean, const float* var, Random random, const T* noise, T* y) {
  sampleQuads<V>(cut, placeOf<V>(cut.quads), mean, var, Gaussian(random), noise, y);
}

template <class T, int V>
__global__ void sampleGradientSums(Planes p, const T* y, const T* dy, const float* mean, GradientParts parts) {
  const Place place = placeOf<V>(p);
  Pack<V> sums[2];
  sampleSums(p, place, y, dy, mean, sums);
  storeSums(parts, p, place, sums);
}

/// A team a cell.
__global__ void mergeSampleGradient(Planes p, GradientParts parts, Team team, const float* var, float* dmean,
                                    float* dvar) {
  const int64_t cell = team.index();
  const bool active = cell < p.cells();
  double sums[2] = {0, 0};
  if (active) addParts(parts, p, team, cell, sums[0], sums[1]);
  sumTeam(team, sums);
  if (active && team.member() == 0) {
    dmean[cell] = static_cast<float>(sums[0]);
    dvar[cell] = static_cast<float>(varianceGradient(sums[1], var[cell]));
  }
}

/// Needs and moves: 1 write of y, 1 read of the noise where it is given. 1 launch.
void run(const op::SamplePrior& o, Context& context) {
  forPacks(
      o.y.stored, o.y.c,
      [&]<class T, int V>() {
        op::Act quads = o.y;
        quads.h = quadsOf(o.y);
        quads.w = 1;
        const SampleCut cut{planesOf(quads, o.y.n, V, kQuadCut), o.y.pixels(), 0};
        launch(samplePrior<T, V>, cut.quads.grid(), cut.quads.threads(), 0, context.stream, cut, o.mean, o.var,
               o.random, o.noise.values<T>(), o.y.values<T>());
      },
      o.y.data, o.noise.data, o.mean, o.var);
}

/// Needs and moves: 1 read of y and dy. 2 launches: sums of chunks, merging.
void run(const op::SamplePriorBackward& o, Context& context) {
  forPacks(
      o.y.stored, o.y.c,
      [&]<class T, int V>() {
        const GradientSums sums = GradientSums::of(planesOf(o.y, o.y.n, V, kSumCut), context);
        const Planes& p = sums.planes;
        launch(sampleGradientSums<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.y.values<T>(), o.dy.values<T>(),
               o.mean, sums.parts);
        const Team team = Team::of(p.chunks);
        launch(mergeSampleGradient, team.grid(p.cells()), kBlockThreads, 0, context.stream, p, sums.parts, team, o.var,
               o.dmean, o.dvar);
      },
      o.y.data, o.dy.data, o.mean);
}

}  // namespace kn::cuda
