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
struct UpdateRunning {
  const float *mean, *var;
  float *runningMean, *runningVar;
  int64_t splits, channels;
  float momentum, correction;
  bool allSplits;
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
AddResult addMoments(const Tensor& a, const Tensor& b, int64_t splits, bool inPlace);
void updateRunning(const Tensor& mean, const Tensor& var, const Tensor& runningMean, const Tensor& runningVar,
                   int64_t splits, double momentum, double correction, bool allSplits);

}  // namespace kn
