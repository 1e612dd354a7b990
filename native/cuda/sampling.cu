#include "sampling.cuh"

#include "kernels.h"

namespace kn::cuda {

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
  forPacks(o.y.stored, o.y.c, [&]<class T, int V>() {
    op::Act quads = o.y;
    quads.h = quadsOf(o.y);
    quads.w = 1;
    const SampleCut cut{planesOf(quads, o.y.n, V, kQuadCut), o.y.pixels(), 0};
    launch(samplePrior<T, V>, cut.quads.grid(), cut.quads.threads(), 0, context.stream, cut, o.mean, o.var, o.random,
           o.noise.values<T>(), o.y.values<T>());
  }, o.y.data, o.noise.data, o.mean, o.var);
}

/// Needs and moves: 1 read of y and dy. 2 launches: sums of chunks, merging.
void run(const op::SamplePriorBackward& o, Context& context) {
  forPacks(o.y.stored, o.y.c, [&]<class T, int V>() {
    const GradientSums sums = GradientSums::of(planesOf(o.y, o.y.n, V, kSumCut), context);
    const Planes& p = sums.planes;
    launch(sampleGradientSums<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.y.values<T>(), o.dy.values<T>(),
           o.mean, sums.parts);
    const Team team = Team::of(p.chunks);
    launch(mergeSampleGradient, team.grid(p.cells()), kBlockThreads, 0, context.stream, p, sums.parts, team, o.var,
           o.dmean, o.dvar);
  }, o.y.data, o.dy.data, o.mean);
}

}  // namespace kn::cuda
