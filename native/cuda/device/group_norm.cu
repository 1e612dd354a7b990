#include "gradient.cuh"
#include "kernels.h"
#include "moments.cuh"

/// Group normalization is batch normalization with each sample its own split, but for statistics that several channels
/// share. So its passes over x are the same, cut by channels and not by groups: accesses are wide for any width of a
/// group, and only the kernels that merge know about groups.
namespace kn::cuda {

/// The gradient through the statistics of a sample's group: a team each.
__global__ void mergeGroupGradients(Planes p, GradientParts parts, Team team, Norm norm, GradientVectors vectors) {
  const int64_t index = team.index(), first = index * norm.perGroup;
  const int64_t count = first < p.cells() ? static_cast<int64_t>(norm.perGroup) * p.chunks : 0;
  const int64_t channel = first % p.channels;
  double sums[2] = {0, 0};
  for (int64_t i = team.member(); i < count; i += team.size) {
    const double gamma = norm.gamma ? norm.gamma[channel + i / p.chunks] : 1;
    sums[0] += gamma * parts.g[first * p.chunks + i];
    sums[1] += gamma * parts.gx[first * p.chunks + i];
  }
  sumTeam(team, sums);
  if (count && team.member() == 0) {
    const double r = 1 / sqrt(static_cast<double>(norm.var[index]) + norm.epsilon);
    const double values = static_cast<double>(p.rows * norm.perGroup);
    vectors.slope[index] = static_cast<float>(-r * r * r * sums[1] / values);
    vectors.offset[index] = static_cast<float>(-r * sums[0] / values);
  }
}

namespace {

template <class Op>
Norm normOf(const Op& o) {
  return {o.mean, o.var, o.gamma, o.beta, o.epsilon, static_cast<int>(o.x.c / o.groups), o.relu};
}

}  // namespace

/// Needs 1 read of x, 1 write of y where a sample fits on the chip. Moves 2 reads of x, 1 write of y.
void run(const op::GroupNorm& o, Context& context) {
  const Norm norm = normOf(o);
  computeMoments(o.x, o.x.n, norm.perGroup, o.mean, o.var, context);
  applyNorm(o.x, o.y, o.x.n, norm, context);
}

/// Needs 1 read of x, dy and add, 1 write of dx where a sample fits on the chip. Moves 2 reads of x and dy, 1 of add,
/// 1 write of dx.
void run(const op::GroupNormBackward& o, Context& context) {
  const Norm norm = normOf(o);
  // Rounded up, so that both vectors are aligned.
  const int64_t statistics = o.x.n * o.groups, room = ceilDivide(statistics, 4) * 4;
  const auto memory = context.scratch(2 * room * sizeof(float));
  float* const slope = static_cast<float*>(memory->data);
  const GradientVectors vectors{nullptr, slope, slope + room};
  const GradientSums sums = sumGradients(o.x, o.dy, o.x.n, norm, context);
  const Planes& p = sums.planes;
  const Team team = Team::of(static_cast<int64_t>(norm.perGroup) * p.chunks);
  launch(mergeGroupGradients, team.grid(statistics), kBlockThreads, 0, context.stream, p, sums.parts, team, norm,
         vectors);
  if (o.dgamma || o.dbeta) mergeGradients(sums, norm, o.dgamma, o.dbeta, context);
  applyGradients(o.x, o.dy, o.add, o.dx, o.x.n, norm, vectors, context);
}

}  // namespace kn::cuda
