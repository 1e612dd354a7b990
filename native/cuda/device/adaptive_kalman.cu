#include "gradient.cuh"
#include "kernels.h"
#include "moments.cuh"

namespace kn::cuda {

/// Fuses belief and observation of every split, and moves the filter's state. A block a channel, a thread a split.
__global__ void adaptiveFuse(op::AdaptiveFilter f, int64_t splits, int64_t channels) {
  const Team block{kBlockThreads};
  const int64_t channel = blockIdx.x;
  const adaptive::Channel c{f.state, channels, channel};
  const adaptive::Prior prior = f.priorOf(channel);
  const bool primes = adaptive::primes(c, f.options);
  double pooled[3] = {0, 0, 0};
  if (primes) {
    // Of deviations from the first split's mean, so that large means don't cancel.
    const double origin = f.obsMean[channel];
    for (int64_t s = threadIdx.x; s < splits; s += kBlockThreads) {
      const double d = f.obsMean[s * channels + channel] - origin;
      pooled[0] += d;
      pooled[1] += d * d;
      pooled[2] += f.obsVar[s * channels + channel];
    }
  }
  sumTeam(block, pooled);
  if (primes && threadIdx.x == 0) {
    const double count = static_cast<double>(splits), mean = pooled[0] / count;
    adaptive::prime(prior, f.obsMean[channel] + mean, pooled[2] / count + fmax(pooled[1] / count - mean * mean, 0.0), c,
                    f.options);
  }
  __syncthreads();
  const adaptive::Belief belief = adaptive::beliefOf(prior, c, f.options);
  adaptive::Tally tally;
  for (int64_t s = threadIdx.x; s < splits; s += kBlockThreads) {
    const int64_t cell = s * channels + channel;
    const adaptive::Fused fused = adaptive::fuse(belief, f.obsMean[cell], f.obsVar[cell], f.options);
    f.postMean[cell] = static_cast<float>(fused.mean);
    f.postVar[cell] = static_cast<float>(fused.var(f.options));
    f.gainMean[cell] = static_cast<float>(fused.gainMean);
    f.gainVar[cell] = static_cast<float>(fused.gainVar);
    tally.add(fused, belief, f.obsVar[cell], f.options);
  }
  double sums[8] = {tally.i, tally.i2, tally.j, tally.j2, tally.var, tally.mean, tally.mean2, tally.postVar};
  sumTeam(block, sums);
  if (threadIdx.x == 0) {
    f.beliefMean[channel] = static_cast<float>(belief.mean);
    f.beliefVar[channel] = static_cast<float>(belief.var(f.options));
    if (f.normalizedVar) f.normalizedVar[channel] = f.gamma[channel] * f.gamma[channel];
    const adaptive::Tally all{sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
    adaptive::advance(prior, belief, all, splits, f.upstreamOf(channel, channels), c, f.options, f.runningMean[channel],
                      f.runningVar[channel]);
  }
}

/// From the sums of all splits of a channel: what dx is made of, and the prior's gradient. A block a channel.
__global__ void adaptiveGradient(op::AdaptiveKalmanNormBackward o, Planes p, GradientParts parts, Team team, Norm norm,
                                 GradientVectors vectors) {
  const int64_t channel = blockIdx.x;
  const double rows = static_cast<double>(p.rows);
  const float gamma = norm.gamma ? norm.gamma[channel] : 1;
  double totals[4];
  overSplits(parts, p, team, channel, totals, [&](int64_t split, double g, double gx, double(&sum)[4]) {
    const int64_t cell = split * p.channels + channel;
    const float rstd = reciprocalStd(norm.var[cell], norm.epsilon);
    const adaptive::CellGradient d =
        adaptive::cellGradient(g, gx, gamma * rstd, rows, o.postMean[cell], o.obsMean[cell], o.obsVar[cell],
                               o.observationShare(o.gainMean[cell]), o.observationShare(o.gainVar[cell]), o.epsilon);
    vectors.shift[cell] = static_cast<float>(d.shift);
    vectors.slope[cell] = static_cast<float>(d.slope);
    vectors.offset[cell] = static_cast<float>(d.offset);
    sum[0] += gx * rstd;
    sum[1] += g;
    sum[2] += d.dmean;
    sum[3] += d.dlogVar;
  });
  if (threadIdx.x != 0) return;
  if (o.dgamma) o.dgamma[channel] = static_cast<float>(totals[0]) + o.throughSquare(channel);
  if (o.dbeta) o.dbeta[channel] = static_cast<float>(totals[1]);
  if (!o.dpriorMean) return;
  if (o.dbeliefMean) totals[2] += o.dbeliefMean[channel];
  if (o.dbeliefVar) totals[3] += o.dbeliefVar[channel] * (static_cast<double>(o.beliefVar[channel]) + o.epsilon);
  const adaptive::PriorGradient d = adaptive::priorGradient(totals[2], totals[3], o.priorMean[channel],
                                                            o.priorVar[channel], o.beliefMean[channel], o.epsilon);
  o.dpriorMean[channel] = static_cast<float>(d.mean);
  o.dpriorVar[channel] = static_cast<float>(d.var);
}

/// Needs 1 read of x, 1 write of y where a split fits on the chip or the moments are given; moves 1 read more for
/// moments that aren't given. 3 launches: moments, filter, normalization; 1 more where a cell is more than one chunk.
void run(const op::AdaptiveKalmanNorm& o, Context& context) {
  const op::AdaptiveFilter& f = o.filter;
  if (!o.haveMoments) computeMoments(o.x, o.splits, 1, f.obsMean, f.obsVar, context);
  launch(adaptiveFuse, dim3(static_cast<unsigned>(o.x.c)), kBlockThreads, 0, context.stream, f, o.splits, o.x.c);
  applyNorm(o.x, o.y, o.splits, {f.postMean, f.postVar, f.gamma, o.beta, f.options.epsilon, 1, o.relu}, context);
}

/// Needs 1 read of x, dy and add, 1 write of dx where a split fits on the chip; moves 1 read more of x and dy. 3
/// launches: sums, gradient through the filter, dx.
void run(const op::AdaptiveKalmanNormBackward& o, Context& context) {
  const Norm norm{o.postMean, o.postVar, o.gamma, o.beta, o.epsilon, 1, o.relu};
  const int64_t cells = o.splits * o.x.c;
  const auto memory = context.scratch(3 * cells * sizeof(float));
  float* const shift = static_cast<float*>(memory->data);
  const GradientVectors vectors{shift, shift + cells, shift + 2 * cells};
  const GradientSums sums = sumGradients(o.x, o.dy, o.splits, norm, context);
  launch(adaptiveGradient, dim3(static_cast<unsigned>(o.x.c)), kBlockThreads, 0, context.stream, o, sums.planes,
         sums.parts, Team::of(sums.planes.chunks), norm, vectors);
  applyGradients(o.x, o.dy, o.add, o.dx, o.splits, norm, vectors, context);
}

}  // namespace kn::cuda
