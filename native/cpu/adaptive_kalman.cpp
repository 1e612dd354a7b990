#include "kernels.h"
#include "planes.h"

namespace kn::cpu {
namespace {

using op::AdaptiveFilter;

/// The first step's correction needs all its splits' statistics; they are in obsMean and obsVar.
void primeChannel(const AdaptiveFilter& f, int64_t splits, const adaptive::Channel& c) {
  double mean = 0, var = 0, spread = 0;
  for (int64_t s = 0; s < splits; ++s) mean += f.obsMean[s * c.channels + c.channel];
  mean /= static_cast<double>(splits);
  for (int64_t s = 0; s < splits; ++s) {
    const double d = f.obsMean[s * c.channels + c.channel] - mean;
    var += f.obsVar[s * c.channels + c.channel];
    spread += d * d;
  }
  adaptive::prime(f.priorOf(c.channel), mean, (var + spread) / static_cast<double>(splits), c, f.options);
}

}  // namespace

void run(const op::AdaptiveKalmanNorm& o, Context&) {
  const AdaptiveFilter& f = o.filter;
  const int64_t channels = o.x.c;
  const Runs runs(o.x, o.splits);
  const auto channelOf = [&](int64_t c) { return adaptive::Channel{f.state, channels, c}; };
  bool first = false;
  for (int64_t c = 0; c < channels; ++c) first = first || adaptive::primes(channelOf(c), f.options);
  // A split that is one task is measured and normalized while it is in the cache, except in the first step.
  const bool observe = !o.haveMoments && (first || runs.runs > 1);
  if (observe) computeMoments(o.x, o.splits, f.obsMean, f.obsVar);
  std::vector<adaptive::Belief> beliefs(channels);
  for (int64_t c = 0; c < channels; ++c) {
    if (adaptive::primes(channelOf(c), f.options)) primeChannel(f, o.splits, channelOf(c));
    beliefs[c] = adaptive::beliefOf(f.priorOf(c), channelOf(c), f.options);
    f.beliefMean[c] = static_cast<float>(beliefs[c].mean);
    f.beliefVar[c] = static_cast<float>(beliefs[c].var(f.options));
    if (f.normalizedVar) f.normalizedVar[c] = f.gamma[c] * f.gamma[c];
  }
  std::vector<adaptive::Fused> cells(o.splits * channels);
  const auto fuse = [&](const Runs::Task& task) {
    for (int i = 0; i < validLanes(channels, task.group); ++i) {
      const int64_t channel = task.group * kLanes + i, cell = task.split * channels + channel;
      const adaptive::Fused fused = adaptive::fuse(beliefs[channel], f.obsMean[cell], f.obsVar[cell], f.options);
      f.postMean[cell] = static_cast<float>(fused.mean);
      f.postVar[cell] = static_cast<float>(fused.var(f.options));
      f.gainMean[cell] = static_cast<float>(fused.gainMean);
      f.gainVar[cell] = static_cast<float>(fused.gainVar);
      cells[cell] = fused;
    }
  };
  const auto apply = [&](const Runs::Task& task) {
    const int64_t channel = task.group * kLanes;
    const Affine8 affine = affineAt(f.postMean, f.postVar, f.gamma, o.beta, f.options.epsilon,
                                    task.split * channels + channel, channel, validLanes(channels, task.group));
    for (int64_t n = task.first; n < task.last; ++n) {
      applyPlane(plane(o.x, n, task.group), plane(o.y, n, task.group), affine, o.relu);
    }
  };
  if (runs.runs == 1) {
    parallelFor(runs.tasks(), [&](int64_t i) {
      const Runs::Task task = runs.task(i);
      if (!o.haveMoments && !observe) {
        storeMoments(momentsOf(o.x, task), task.split * channels + task.group * kLanes,
                     validLanes(channels, task.group), f.obsMean, f.obsVar);
      }
      fuse(task);
      apply(task);
    });
  } else {
    for (int64_t cell = 0; cell < runs.cells(); ++cell) fuse(runs.task(cell * runs.runs));
    parallelFor(runs.tasks(), [&](int64_t i) { apply(runs.task(i)); });
  }
  for (int64_t c = 0; c < channels; ++c) {
    adaptive::Tally tally;
    for (int64_t s = 0; s < o.splits; ++s) {
      const int64_t cell = s * channels + c;
      tally.add(cells[cell], beliefs[c], f.obsVar[cell], f.options);
    }
    adaptive::advance(f.priorOf(c), beliefs[c], tally, o.splits, f.upstreamOf(c, channels), channelOf(c), f.options,
                      f.runningMean[c], f.runningVar[c]);
  }
}

void run(const op::AdaptiveKalmanNormBackward& o, Context&) {
  const int64_t channels = o.x.c, count = o.splits * channels;
  const Runs runs(o.x, o.splits);
  const double rows = static_cast<double>(runs.samples * o.x.pixels());
  const std::vector<float> rstd = reciprocalStd(o.postVar, count, o.epsilon);
  std::vector<double> dmean(count), dlogVar(count);

  const auto affineOf = [&](const Runs::Task& task) {
    const int64_t channel = task.group * kLanes;
    return affineAt(o.postMean, o.postVar, o.gamma, o.beta, o.epsilon, task.split * channels + channel, channel,
                    validLanes(channels, task.group));
  };
  const auto sum = [&](const Runs::Task& task, const Affine8& affine, Sums8& sums) {
    for (int64_t n = task.first; n < task.last; ++n) {
      gradientSums(plane(o.x, n, task.group), plane(o.dy, n, task.group), affine, o.relu, sums);
    }
  };
  const auto propagate = [&](const Runs::Task& task, const Affine8& affine, const Sums8& sums) {
    Gradient8 gradient;
    for (int i = 0; i < validLanes(channels, task.group); ++i) {
      const int64_t cell = task.split * channels + task.group * kLanes + i;
      const adaptive::CellGradient d = adaptive::cellGradient(
          sums.g[i], sums.gx[i], affine.scale[i], rows, o.postMean[cell], o.obsMean[cell], o.obsVar[cell],
          o.observationShare(o.gainMean[cell]), o.observationShare(o.gainVar[cell]), o.epsilon);
      gradient.shift[i] = static_cast<float>(d.shift);
      gradient.slope[i] = static_cast<float>(d.slope);
      gradient.offset[i] = static_cast<float>(d.offset);
      dmean[cell] = d.dmean;
      dlogVar[cell] = d.dlogVar;
    }
    return gradient;
  };
  const auto apply = [&](const Runs::Task& task, const Affine8& affine, const Gradient8& gradient) {
    for (int64_t n = task.first; n < task.last; ++n) {
      const Plane x = plane(o.x, n, task.group);
      gradientPlane(x, plane(o.dy, n, task.group), plane(o.dx, n, task.group),
                    o.add.data ? o.add.values() + (x.data - o.x.values()) : nullptr, affine, gradient, o.relu);
    }
  };

  runBackward(runs, affineOf, sum, propagate, apply).finish(o.splits, channels, rstd, o.dgamma, o.dbeta);
  for (int64_t c = 0; o.dgamma && c < channels; ++c) o.dgamma[c] += o.throughSquare(c);
  if (!o.dpriorMean) return;
  for (int64_t c = 0; c < channels; ++c) {
    double mean = o.dbeliefMean ? o.dbeliefMean[c] : 0;
    double logVar = o.dbeliefVar ? o.dbeliefVar[c] * (static_cast<double>(o.beliefVar[c]) + o.epsilon) : 0;
    for (int64_t s = 0; s < o.splits; ++s) {
      mean += dmean[s * channels + c];
      logVar += dlogVar[s * channels + c];
    }
    const adaptive::PriorGradient d =
        adaptive::priorGradient(mean, logVar, o.priorMean[c], o.priorVar[c], o.beliefMean[c], o.epsilon);
    o.dpriorMean[c] = static_cast<float>(d.mean);
    o.dpriorVar[c] = static_cast<float>(d.var);
  }
}

}  // namespace kn::cpu
