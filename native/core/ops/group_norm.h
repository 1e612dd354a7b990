#pragma once
#include "batch_norm.h"
#include "views.h"

namespace kn::op {

/// Statistics per sample and group of channels; `mean` and `var` are [N·G].
struct GroupNorm {
  Act x, y;
  int64_t groups;
  const float *gamma, *beta;
  float *mean, *var;
  float epsilon;
  bool relu;
};
struct GroupNormBackward {
  Act x, dy, dx, add;
  int64_t groups;
  const float *gamma, *beta, *mean, *var;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};

}  // namespace kn::op

namespace kn {

NormResult groupNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t groups, double epsilon,
                     bool relu);
NormGradients groupNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t groups, double epsilon, bool relu, const Tensor& add,
                                int64_t virtualSamples);

}  // namespace kn
