#include "affine.cuh"
#include "averaging.cuh"
#include "kernels.h"
#include "moments.cuh"

namespace kn::cuda {

template <class T, int V>
__global__ void momentsOfChunks(Planes p, const T* x, MomentsTarget target) {
  const Place place = placeOf<V>(p);
  storeChunk(target, p, place, chunkMoments<V>(p, place, x));
}

/// `cells` neighbouring cells share a mean and a variance.
__global__ void mergeMoments(Planes p, MomentParts parts, Team team, int64_t cells, float* mean, float* var) {
  const int64_t index = team.index(), cell = index * cells;
  const bool active = cell < p.cells();
  const MergedMoments moments = mergeParts(parts, p, team, active ? cell : 0, active ? cells : 0);
  if (active && team.member() == 0) {
    mean[index] = static_cast<float>(moments.mean);
    var[index] = static_cast<float>(moments.var);
  }
}

template <class T, int V>
__global__ void addWithMoments(Planes p, const T* a, const T* b, T* out, MomentsTarget target) {
  const Place place = placeOf<V>(p);
  const auto read = [&](int64_t at) {
    Pack<V> sum = load<V>(a + at);
    const Pack<V> other = load<V>(b + at);
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = toFloat(fromFloat<T>(sum[i] + other[i]));
    return sum;
  };
  const Pack<V> pivot = pivotOf<V>(p, place, read);
  // From here on `out`, which may be a or b, is overwritten.
  __syncthreads();
  const ChunkMoments<V> moments = chunkMoments<V>(p, place, pivot, read, [&](int64_t at, const Pack<V>& sum) {
    store<V>(out + at, sum);
    return sum;
  });
  storeChunk(target, p, place, moments);
}

template <class T, int V>
__global__ void momentsGradient(Planes p, const T* x, const float* mean, const float* dmean, const float* dvar, T* dx) {
  const Place place = placeOf<V>(p);
  Affine<V> affine{loadVector<V>(mean, place.cell), loadVector<V>(dvar, place.cell), loadVector<V>(dmean, place.cell)};
  const float rows = static_cast<float>(p.rows);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    affine.scale[i] *= 2 / rows;
    affine.shift[i] /= rows;
  }
  normalizeRows(p, place, x, dx, affine, false);
}

__global__ void updateRunning(Averaging averaging) { moveAverages(averaging); }

namespace {

/// Enqueues a pass over chunks, `pass(planes, target)`, and the merging where a statistic is more than one chunk.
template <class Pass>
void enqueueMoments(const Planes& p, int64_t perGroup, float* mean, float* var, Context& context, const Pass& pass) {
  if (p.chunks * perGroup == 1) return pass(MomentsTarget{{}, mean, var});
  const auto memory = context.scratch(MomentParts::kVectors * p.parts() * sizeof(float));
  const MomentParts parts = MomentParts::in(static_cast<float*>(memory->data), p);
  pass(MomentsTarget{parts, nullptr, nullptr});
  const Team team = Team::of(p.chunks * perGroup);
  launch(mergeMoments, team.grid(p.cells() / perGroup), kBlockThreads, 0, context.stream, p, parts, team, perGroup,
         mean, var);
}

}  // namespace

void computeMoments(const op::Act& x, int64_t splits, int64_t perGroup, float* mean, float* var, Context& context) {
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(x, splits, V, kSumCut);
        enqueueMoments(p, perGroup, mean, var, context, [&](const MomentsTarget& target) {
          launch(momentsOfChunks<T, V>, p.grid(), p.threads(), 0, context.stream, p, x.values<T>(), target);
        });
      },
      x.data);
}

SampleMoments computeParts(const op::Act& x, int most, std::shared_ptr<Storage>& memory, Context& context) {
  SampleMoments moments{};
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(x, 1, V, kSumCut);
        const bool merged = p.chunks > most;
        memory = context.scratch((merged ? 2 * x.c : MomentParts::kVectors * p.parts()) * sizeof(float));
        float* const values = static_cast<float*>(memory->data);
        if (merged) {
          moments = {p, {}, values, values + x.c};
          return computeMoments(x, 1, 1, moments.mean, moments.var, context);
        }
        moments = {p, MomentParts::in(values, p), nullptr, nullptr};
        launch(momentsOfChunks<T, V>, p.grid(), p.threads(), 0, context.stream, p, x.values<T>(),
               MomentsTarget{moments.parts, nullptr, nullptr});
      },
      x.data);
  return moments;
}

/// Needs and moves: 1 read of x.
void run(const op::Moments& o, Context& context) { computeMoments(o.x, o.splits, 1, o.mean, o.var, context); }

/// Needs and moves: 1 read of x, 1 write of dx.
void run(const op::MomentsBackward& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(o.x, o.splits, V, kMapCut);
        launch(momentsGradient<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.x.values<T>(), o.mean, o.dmean,
               o.dvar, o.dx.values<T>());
      },
      o.x.data, o.dx.data, o.mean, o.dmean, o.dvar);
}

/// Needs and moves: 1 read of a and b, 1 write of out.
void run(const op::AddMoments& o, Context& context) {
  if (!o.mean) {
    const auto values = [](const op::Act& act) { return op::Values{act.data, act.count(), act.stored}; };
    return run(op::Add{values(o.a), values(o.b), values(o.out)}, context);
  }
  forPacks(
      o.out.stored, o.out.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(o.out, o.splits, V, kSumCut);
        enqueueMoments(p, 1, o.mean, o.var, context, [&](const MomentsTarget& target) {
          launch(addWithMoments<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.a.values<T>(), o.b.values<T>(),
                 o.out.values<T>(), target);
        });
      },
      o.a.data, o.b.data, o.out.data);
}

/// Needs and moves: 1 read of the statistics, 1 read and write of the running ones.
void run(const op::UpdateRunning& o, Context& context) {
  const auto averaging = Averaging::by(kBlockThreads, o);
  launch(updateRunning, averaging.blocks, kBlockThreads, 0, context.stream, averaging);
}

}  // namespace kn::cuda
