#pragma once
#include "batch_norm.h"
#include "views.h"

namespace kn::op {

/// (w - mean) / sqrt(var + epsilon) for each output of a filter; `mean` and `var` are [out].
struct WeightStandardize {
  Filter w, y;
  float *mean, *var;
  float epsilon;
};
struct WeightStandardizeBackward {
  Filter w, dy, dw;
  const float *mean, *var;
  float epsilon;
};

}  // namespace kn::op

namespace kn {

NormResult weightStandardize(const Tensor& w, double epsilon);
Tensor weightStandardizeBackward(const Tensor& w, const Tensor& dy, const MeanVar& moments, double epsilon);

}  // namespace kn
