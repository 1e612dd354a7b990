#include <cmath>

#include "kernels.h"
#include "planes.h"

namespace kn::cpu {

std::vector<float> reciprocalStd(const float* var, int64_t count, float epsilon) {
  std::vector<float> rstd(count);
  for (int64_t i = 0; i < count; ++i) rstd[i] = 1 / std::sqrt((var ? var[i] : 0) + epsilon);
  return rstd;
}

void storeCells(const std::vector<Moments8>& parts, const Runs& runs, int64_t channels, float* mean, float* var) {
  for (int64_t cell = 0; cell < runs.cells(); ++cell) {
    const int64_t group = cell % runs.groups;
    storeMoments(mergeRuns(parts, runs, cell), cell / runs.groups * channels + group * kLanes,
                 validLanes(channels, group), mean, var);
  }
}

void computeMoments(const op::Act& x, int64_t splits, float* mean, float* var) {
  const Runs runs(x, splits);
  std::vector<Moments8> parts(runs.tasks());
  parallelFor(runs.tasks(), [&](int64_t i) { parts[i] = momentsOf(x, runs.task(i)); });
  storeCells(parts, runs, x.c, mean, var);
}

void AffineSums::finish(int64_t splits, int64_t channels, const std::vector<float>& rstd, float* dgamma,
                        float* dbeta) const {
  const int64_t groups = groupCount(channels);
  for (int64_t c = 0; c < channels; ++c) {
    double g = 0, gx = 0;
    for (int64_t s = 0; s < splits; ++s) {
      const Sums8& sums = cells[s * groups + c / kLanes];
      g += sums.g[c % kLanes];
      gx += sums.gx[c % kLanes] * rstd[s * channels + c];
    }
    if (dgamma) dgamma[c] = static_cast<float>(gx);
    if (dbeta) dbeta[c] = static_cast<float>(g);
  }
}

void run(const op::Moments& o, Context&) { computeMoments(o.x, o.splits, o.mean, o.var); }

void run(const op::MomentsBackward& o, Context&) {
  const Runs runs(o.x, o.splits);
  const float count = static_cast<float>(runs.samples * o.x.pixels());
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    const int64_t at = task.split * o.x.c + task.group * kLanes;
    const int valid = validLanes(o.x.c, task.group);
    const Float8 center = loadVector(o.mean, at, valid);
    const Float8 slope = loadVector(o.dvar, at, valid) * (2 / count);
    const Float8 offset = loadVector(o.dmean, at, valid) / count;
    for (int64_t n = task.first; n < task.last; ++n) {
      slopePlane(plane(o.x, n, task.group), plane(o.dx, n, task.group), center, slope, offset);
    }
  });
}

void run(const op::AddMoments& o, Context&) {
  // Without splits the cut is that of one split, and nothing is summed.
  const bool withMoments = o.splits > 0;
  const Runs runs(o.out, withMoments ? o.splits : 1);
  std::vector<Moments8> parts(withMoments ? runs.tasks() : 0);
  parallelFor(runs.tasks(), [&](int64_t i) {
    const Runs::Task task = runs.task(i);
    PivotSums sums;
    for (int64_t n = task.first; n < task.last; ++n) {
      const Plane a = plane(o.a, n, task.group), b = plane(o.b, n, task.group), out = plane(o.out, n, task.group);
      dispatch(out.full(), withMoments, [&]<bool Full, bool WithMoments>() {
        addPlanes<Full>(a, b, out);
        if constexpr (WithMoments) addPlane<Full>(out, sums);
      });
    }
    if (withMoments) parts[i] = sums.moments();
  });
  if (withMoments) storeCells(parts, runs, o.out.c, o.mean, o.var);
}

void run(const op::UpdateRunning& o, Context&) {
  if (!o.runningMean) return;
  const int64_t splits = o.allSplits ? o.splits : 1;
  for (int64_t c = 0; c < o.channels; ++c) {
    double mean = 0, var = 0;
    for (int64_t s = 0; s < splits; ++s) {
      mean += o.mean[s * o.channels + c];
      var += o.var[s * o.channels + c];
    }
    if (!std::isfinite(mean + var)) continue;  // one bad batch would stay for ever
    const auto toward = [&](float& running, double value) {
      running -= o.momentum * (running - static_cast<float>(value));
    };
    toward(o.runningMean[c], mean / splits);
    toward(o.runningVar[c], var / splits * o.correction);
  }
}

}  // namespace kn::cpu
