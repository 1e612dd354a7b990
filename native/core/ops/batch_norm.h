#pragma once
#include "moments.h"
#include "views.h"

namespace kn::op {

/// y = (x - mean)·gamma·rsqrt(var + epsilon) + beta, then ReLU where asked, with statistics that are given (inference);
/// where they are null they are 0.
struct Normalize {
  Act x, y;
  const float *mean, *var, *gamma, *beta;
  float epsilon;
  bool relu;
};
struct NormalizeBackward {
  Act x, dy, dx;
  const float *mean, *var, *gamma, *beta;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};
/// Normalization with the statistics of each split. `mean` and `var` (biased) are read where `haveMoments`, else
/// written.
struct BatchNorm {
  Act x, y;
  int64_t splits;
  const float *gamma, *beta;
  float *mean, *var;
  bool haveMoments;
  float epsilon;
  bool relu;
  UpdateRunning running;
};
/// `add` (without data where there is none) is added to dx: the gradient that x has from elsewhere.
struct BatchNormBackward {
  Act x, dy, dx, add;
  int64_t splits;
  const float *gamma, *beta, *mean, *var;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};
/// Batch normalization over the whole batch by the device's own library (cuDNN), to measure ours against.
struct DnnBatchNorm {
  static constexpr const char* cudaOnly = "batchNorm: engine 'cudnn'";
  Act x, y;
  const float *gamma, *beta;
  float *mean, *rstd, *var;  ///< rstd = 1 / sqrt(var + epsilon)
  float epsilon;
  bool relu;
};
struct DnnBatchNormBackward {
  static constexpr const char* cudaOnly = DnnBatchNorm::cudaOnly;
  Act x, dy, dx;
  const float *gamma, *beta, *mean, *rstd;
  float *dgamma, *dbeta;
  bool relu;
};

}  // namespace kn::op

namespace kn {

struct NormResult {
  Tensor y;
  MeanVar moments;
};
struct NormGradients {
  Tensor dx, dgamma, dbeta;
};
/// Room for the gradients of a normalization; for those of gamma and beta where it has them.
NormGradients emptyGradients(Device& device, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                             int64_t virtualSamples);
/// gamma and beta may both be empty (no affine part) in all normalizations.
NormResult batchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t splits, double epsilon,
                     bool relu, const MeanVar& given, const RunningAverages& running);
/// `add` is added to dx; dx gets room for `virtualSamples` behind it.
NormGradients batchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t splits, double epsilon, bool relu, const Tensor& add,
                                int64_t virtualSamples);
/// By cuDNN, over the whole batch; gamma and beta are needed.
struct DnnNormResult {
  Tensor y, mean, rstd, var;
};
DnnNormResult dnnBatchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon, bool relu);
NormGradients dnnBatchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                   const Tensor& mean, const Tensor& rstd, bool relu);
Tensor normalize(const Tensor& x, const Tensor& gamma, const Tensor& beta, const MeanVar& moments, double epsilon,
                 bool relu);
NormGradients normalizeBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, double epsilon, bool relu);

}  // namespace kn
