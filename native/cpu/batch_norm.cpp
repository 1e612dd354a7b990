#include "kernels.h"
#include "planes.h"

namespace kn::cpu {

void run(const op::Normalize& o, Context&) {
  const Runs runs(o.x, 1);
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    const int64_t channel = task.group * kLanes;
    const Affine8 affine =
        affineAt(o.mean, o.var, o.gamma, o.beta, o.epsilon, channel, channel, validLanes(o.x.c, task.group));
    for (int64_t n = task.first; n < task.last; ++n) {
      applyPlane(plane(o.x, n, task.group), plane(o.y, n, task.group), affine, o.relu);
    }
  });
}

void run(const op::NormalizeBackward& o, Context&) {
  const Runs runs(o.x, 1);
  std::vector<Sums8> parts(runs.tasks());
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    const int64_t channel = task.group * kLanes;
    const Affine8 affine =
        affineAt(o.mean, o.var, o.gamma, o.beta, o.epsilon, channel, channel, validLanes(o.x.c, task.group));
    for (int64_t n = task.first; n < task.last; ++n) {
      const Plane x = plane(o.x, n, task.group), dy = plane(o.dy, n, task.group);
      gradientSums(x, dy, affine, o.relu, parts[i]);
      gradientPlane(x, dy, plane(o.dx, n, task.group), nullptr, affine, {}, o.relu);
    }
  });
  AffineSums sums{sumRuns(parts, runs)};
  sums.finish(1, o.x.c, reciprocalStd(o.var, o.x.c, o.epsilon), o.dgamma, o.dbeta);
}

void run(const op::BatchNorm& o, Context& context) {
  const Runs runs(o.x, o.splits);
  const auto apply = [&](const Runs::Task& task) {
    const int64_t channel = task.group * kLanes;
    const Affine8 affine = affineAt(o.mean, o.var, o.gamma, o.beta, o.epsilon, task.split * o.x.c + channel, channel,
                                    validLanes(o.x.c, task.group));
    for (int64_t n = task.first; n < task.last; ++n) {
      applyPlane(plane(o.x, n, task.group), plane(o.y, n, task.group), affine, o.relu);
    }
  };
  if (!o.haveMoments && runs.runs > 1) {
    computeMoments(o.x, o.splits, o.mean, o.var);
    parallelFor(runs.tasks(), [&](int64_t i) { apply(runs.task(i)); });
    return run(o.running, context);
  }
  // A split that is one task is normalized while it is in the cache.
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    if (!o.haveMoments) {
      storeMoments(momentsOf(o.x, task), task.split * o.x.c + task.group * kLanes, validLanes(o.x.c, task.group),
                   o.mean, o.var);
    }
    apply(task);
  });
  run(o.running, context);
}

void run(const op::BatchNormBackward& o, Context&) {
  const Runs runs(o.x, o.splits);
  const double count = static_cast<double>(runs.samples * o.x.pixels());
  const std::vector<float> rstd = reciprocalStd(o.var, o.splits * o.x.c, o.epsilon);
  const auto affineOf = [&](const Runs::Task& task) {
    const int64_t channel = task.group * kLanes;
    return affineAt(o.mean, o.var, o.gamma, o.beta, o.epsilon, task.split * o.x.c + channel, channel,
                    validLanes(o.x.c, task.group));
  };
  const auto sum = [&](const Runs::Task& task, const Affine8& affine, Sums8& sums) {
    for (int64_t n = task.first; n < task.last; ++n) {
      gradientSums(plane(o.x, n, task.group), plane(o.dy, n, task.group), affine, o.relu, sums);
    }
  };
  const auto propagate = [&](const Runs::Task& task, const Affine8& affine, const Sums8& sums) {
    Gradient8 gradient;
    for (int i = 0; i < validLanes(o.x.c, task.group); ++i) {
      const double r = rstd[task.split * o.x.c + task.group * kLanes + i], scale = affine.scale[i];
      gradient.slope[i] = static_cast<float>(-scale * r * r * sums.gx[i] / count);
      gradient.shift[i] = static_cast<float>(-sums.g[i] / count);
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
  runBackward(runs, affineOf, sum, propagate, apply).finish(o.splits, o.x.c, rstd, o.dgamma, o.dbeta);
}

}  // namespace kn::cpu
