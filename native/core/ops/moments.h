#pragma once
#include "views.h"

namespace kn::op {

/// Mean and biased variance per split and channel.
struct Moments {
  Act x;
  int64_t splits;
  float *mean, *var;
};
struct MomentsBackward {
  Act x;
  int64_t splits;
  const float *mean, *dmean, *dvar;
  Act dx;
};
/// out = a + b, and the moments of out in the same pass where `mean` is given. out may be a or b.
struct AddMoments {
  Act a, b, out;
  int64_t splits;
  float *mean, *var;
};
/// running += momentum·(s - running), s from split 0 or the mean over the splits; the variance is multiplied by
/// `correction` (n / (n - 1), or 1 where it is unbiased already). A channel whose statistics aren't finite stays.
/// Normalizations take one along, and do it in the launch that normalizes. Without `runningMean` nothing is to be done.
struct UpdateRunning {
  const float *mean = nullptr, *var = nullptr;
  float *runningMean = nullptr, *runningVar = nullptr;
  int64_t splits = 1, channels = 0;
  float momentum = 0, correction = 1;
  bool allSplits = true;
};

}  // namespace kn::op

namespace kn {

struct MeanVar {
  Tensor mean, var;
};
MeanVar moments(const Tensor& x, int64_t splits);
/// Writes into `dx` where it is given, else allocates.
Tensor momentsBackward(const Tensor& x, int64_t splits, const Tensor& mean, const Tensor& dmean, const Tensor& dvar,
                       const Tensor& dx);
/// a + b; in place of b where `inPlace`. Moments are computed where splits > 0.
struct AddResult {
  Tensor out;
  MeanVar moments;
};
/// In place: see Device::overwritable.
AddResult addMoments(const Tensor& a, const Tensor& b, int64_t splits, bool inPlace);
/// Averages of a layer, and how they move; without `mean` there are none. See op::UpdateRunning.
struct RunningAverages {
  Tensor mean, var;
  double momentum = 0, correction = 1;
  bool allSplits = true;
};
op::UpdateRunning runningUpdate(const MeanVar& statistics, const RunningAverages& running, int64_t splits,
                                const char* function);
void updateRunning(const MeanVar& statistics, const RunningAverages& running, int64_t splits);

}  // namespace kn
