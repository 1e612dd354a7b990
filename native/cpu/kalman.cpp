#include <algorithm>

#include "kernels.h"
#include "planes.h"
#include "sampling.h"

namespace kn::cpu {
namespace {

/// p, the weight of the prior, of a channel.
double priorWeight(const float* gain, float fixedGain, int64_t channel) {
  return 1 - static_cast<double>(gain ? gain[channel] : fixedGain);
}

/// Fuses prior and observation into the posterior; tells whether the prior was used.
bool fuse(const op::KalmanNorm& o, double count) {
  const op::KalmanState& s = o.state;
  const int64_t cells = o.splits * o.x.c;
  if (!s.priorMean) {
    const double unbiased = count / std::max(count - 1, 1.0);
    for (int64_t i = 0; i < cells; ++i) {
      s.postMean[i] = s.obsMean[i];
      s.postVar[i] = static_cast<float>(s.obsVar[i] * unbiased);
    }
    s.ratio[0] = 0;
    return false;
  }
  double ratio = 0;
  for (int64_t i = 0; i < cells; ++i) ratio += static_cast<double>(s.priorVar[i]) / s.obsVar[i];
  ratio /= static_cast<double>(cells);
  s.ratio[0] = static_cast<float>(ratio);
  const bool used = ratio < o.guard;
  for (int64_t i = 0; i < cells; ++i) {
    const double p = used ? priorWeight(o.gain, o.fixedGain, i % o.x.c) : 0;
    if (p == 0) {
      s.postMean[i] = s.obsMean[i];
      s.postVar[i] = s.obsVar[i];
      continue;
    }
    const double difference = static_cast<double>(s.obsMean[i]) - s.priorMean[i];
    s.postMean[i] = static_cast<float>(p * s.priorMean[i] + (1 - p) * s.obsMean[i]);
    s.postVar[i] =
        static_cast<float>(p * s.priorVar[i] + (1 - p) * s.obsVar[i] + p * (1 - p) * difference * difference);
  }
  return used;
}

/// The variance that a layer divides by: the posterior's, in the first layer the biased one of the batch.
const float* normalizingVariance(const op::KalmanState& s) { return s.priorMean ? s.postVar : s.obsVar; }

/// The map that normalizes eight channels.
Affine8 affineAt(const op::KalmanState& s, const float* gamma, const float* beta, float epsilon, int64_t at,
                 int64_t channel, int valid) {
  return kn::cpu::affineAt(s.postMean, normalizingVariance(s), gamma, beta, epsilon, at, channel, valid);
}

}  // namespace

void run(const op::KalmanNorm& o, Context& context) {
  const int64_t real = o.x.n - (o.hasVirtual ? o.splits : 0);
  const op::Act x = o.x.samples(0, real), y = o.y.samples(0, real);
  const op::Act virtualX = o.x.samples(real, o.hasVirtual ? o.splits : 0), virtualY = o.y.samples(real, o.splits);
  if (o.hasVirtual) computeMoments(virtualX, o.splits, o.state.priorMean, o.state.priorVar);
  if (!o.haveMoments) computeMoments(x, o.splits, o.state.obsMean, o.state.obsVar);
  const Runs runs(x, o.splits);
  o.state.ratio[1] = fuse(o, static_cast<double>(runs.samples * x.pixels()));
  run(o.running, context);

  const Gaussian gaussian(o.random);
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    const int64_t channel = task.group * kLanes;
    const Affine8 affine =
        affineAt(o.state, o.gamma, o.beta, o.epsilon, task.split * x.c + channel, channel, validLanes(x.c, task.group));
    for (int64_t n = task.first; n < task.last; ++n) {
      applyPlane(plane(x, n, task.group), plane(y, n, task.group), affine, o.relu);
    }
    if (o.sample && task.run == 0) {
      sampleSplit(virtualY, o.noise, gaussian, o.state.postMean, o.state.postVar, task.split, task.group);
    }
  });
}

void run(const op::KalmanNormBackward& o, Context&) {
  const int64_t real = o.x.n - (o.hasVirtual ? o.splits : 0), channels = o.x.c, cells = o.splits * channels;
  const op::Act x = o.x.samples(0, real), dy = o.dy.samples(0, real), dx = o.dx.samples(0, real);
  const op::Act virtualX = o.x.samples(real, o.splits), virtualDx = o.dx.samples(real, o.splits);
  const op::Act virtualY = o.y.samples(real, o.splits), virtualDy = o.dy.samples(real, o.splits);
  const op::KalmanState& s = o.state;
  const Runs runs(x, o.splits);
  const bool hasPrior = s.priorMean != nullptr, used = s.ratio[1] != 0;
  const double count = static_cast<double>(runs.samples * x.pixels());
  const std::vector<float> rstd = reciprocalStd(normalizingVariance(s), cells, o.epsilon);
  std::vector<double> sampleMean(cells), sampleVar(cells), gainSums(o.dgain ? cells : 0);
  std::vector<float> dpriorMean(cells), dpriorVar(cells);

  const auto affineOf = [&](const Runs::Task& task) {
    const int64_t channel = task.group * kLanes;
    return affineAt(s, o.gamma, o.beta, o.epsilon, task.split * channels + channel, channel,
                    validLanes(channels, task.group));
  };
  const auto sum = [&](const Runs::Task& task, const Affine8& affine, Sums8& sums) {
    for (int64_t n = task.first; n < task.last; ++n) {
      gradientSums(plane(x, n, task.group), plane(dy, n, task.group), affine, o.relu, sums);
    }
    // In the first layer the statistics handed on carry no gradient (the reference's fused kernel drops it).
    if (o.sample && hasPrior && task.run == 0) {
      sampleGradient(virtualY, virtualDy, task.split, task.group, s.postMean, s.postVar, sampleMean.data(),
                     sampleVar.data());
    }
  };
  // Through the fusion: from the posterior's gradient to those of observation (for dx) and prior.
  const auto propagate = [&](const Runs::Task& task, const Affine8& affine, const Sums8& sums) {
    Gradient8 gradient;
    const int64_t at = task.split * channels + task.group * kLanes;
    for (int i = 0; i < validLanes(channels, task.group); ++i) {
      const int64_t cell = at + i;
      const double scale = affine.scale[i], r = rstd[cell];
      double dmean = 0, dvar = -0.5 * scale * r * r * sums.gx[i];
      if (hasPrior) {
        dmean += sampleMean[cell] + (o.dpostMean ? o.dpostMean[cell] : 0);
        dvar += sampleVar[cell] + (o.dpostVar ? o.dpostVar[cell] : 0);
      }
      const double p = used ? priorWeight(o.gain, o.fixedGain, cell % channels) : 0;
      const double difference = used ? static_cast<double>(s.obsMean[cell]) - s.priorMean[cell] : 0;
      const double crossed = 2 * p * (1 - p) * difference * dvar;
      const double dobsMean = (1 - p) * dmean + crossed, dobsVar = (1 - p) * dvar;
      const double doutput = -scale * sums.g[i];
      dpriorMean[cell] = static_cast<float>(p * (doutput + dmean) - crossed);
      dpriorVar[cell] = static_cast<float>(p * dvar);
      if (o.dgain && used) {
        const double spread = static_cast<double>(s.priorVar[cell]) - s.obsVar[cell];
        gainSums[cell] = difference * (doutput + dmean) - (spread + (1 - 2 * p) * difference * difference) * dvar;
      }
      const double slope = 2 * dobsVar / count;
      gradient.shift[i] = static_cast<float>(-(1 - p) * sums.g[i] / count);
      gradient.slope[i] = static_cast<float>(slope);
      gradient.offset[i] =
          static_cast<float>(dobsMean / count + slope * (static_cast<double>(affine.center[i]) - s.obsMean[cell]));
    }
    return gradient;
  };
  const auto apply = [&](const Runs::Task& task, const Affine8& affine, const Gradient8& gradient) {
    for (int64_t n = task.first; n < task.last; ++n) {
      const Plane p = plane(x, n, task.group);
      gradientPlane(p, plane(dy, n, task.group), plane(dx, n, task.group),
                    o.add.data ? plane(o.add, n, task.group).data : nullptr, affine, gradient, o.relu);
    }
    if (o.hasVirtual && task.run == 0) {
      const Plane p = plane(virtualX, task.split, task.group);
      const int64_t at = task.split * channels + task.group * kLanes;
      const auto pixels = static_cast<float>(x.pixels());
      slopePlane(p, plane(virtualDx, task.split, task.group), loadVector(s.priorMean, at, p.valid),
                 loadVector(dpriorVar.data(), at, p.valid) * (2 / pixels),
                 loadVector(dpriorMean.data(), at, p.valid) / pixels);
    }
  };

  runBackward(runs, affineOf, sum, propagate, apply).finish(o.splits, channels, rstd, o.dgamma, o.dbeta);
  if (o.dpriorMean) std::copy(dpriorMean.begin(), dpriorMean.end(), o.dpriorMean);
  if (o.dpriorVar) std::copy(dpriorVar.begin(), dpriorVar.end(), o.dpriorVar);
  if (o.dgain) {
    for (int64_t c = 0; c < channels; ++c) {
      double gradient = 0;
      for (int64_t split = 0; split < o.splits; ++split) gradient += gainSums[split * channels + c];
      o.dgain[c] = static_cast<float>(gradient);
    }
  }
}

}  // namespace kn::cpu
