#include "batch_norm.h"

#include "checks.h"

namespace kn {
namespace {

struct Affine {
  const float *gamma, *beta;
};

Affine affine(Device& device, const Tensor& gamma, const Tensor& beta, int64_t channels, const char* function) {
  return {optionalVector(device, gamma, channels, {function, "gamma"}),
          optionalVector(device, beta, channels, {function, "beta"})};
}

}  // namespace

NormGradients emptyGradients(Device& device, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                             int64_t virtualSamples) {
  NormGradients out;
  out.dx = emptyLike(device, x, virtualSamples);
  if (gamma) out.dgamma = emptyVector(device, gamma.shape[0]);
  if (beta) out.dbeta = emptyVector(device, beta.shape[0]);
  return out;
}

NormResult batchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t splits, double epsilon,
                     bool relu, const MeanVar& given, const RunningAverages& running) {
  checkFloat(x, {"batchNorm", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"batchNorm", "x"});
  checkSplits(splits, input.n, {"batchNorm", "splits"});
  const Affine a = affine(device, gamma, beta, input.c, "batchNorm");
  const float checkedEpsilon = positive(epsilon, {"batchNorm", "epsilon"});
  const int64_t count = splits * input.c;
  const bool have = static_cast<bool>(given.mean);
  if (have) {
    vector(device, given.mean, count, {"batchNorm", "mean"});
    vector(device, given.var, count, {"batchNorm", "variance"});
  }
  NormResult out;
  out.y = emptyLike(device, x);
  out.moments = have ? given : MeanVar{emptyVector(device, count), emptyVector(device, count)};
  device.launch(op::BatchNorm{input, activation(device, out.y, {"batchNorm", "y"}), splits, a.gamma, a.beta,
                              out.moments.mean.data(), out.moments.var.data(), have, checkedEpsilon, relu,
                              runningUpdate(out.moments, running, splits, "batchNorm")});
  return out;
}

NormGradients batchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t splits, double epsilon, bool relu, const Tensor& add,
                                int64_t virtualSamples) {
  checkFloat(x, {"batchNormBackward", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"batchNormBackward", "x"});
  checkSplits(splits, input.n, {"batchNormBackward", "splits"});
  const op::Act gradient = activationLike(device, dy, x, {"batchNormBackward", "dy"});
  const Affine a = affine(device, gamma, beta, input.c, "batchNormBackward");
  const int64_t count = splits * input.c;
  const float* mean = vector(device, moments.mean, count, {"batchNormBackward", "mean"});
  const float* var = vector(device, moments.var, count, {"batchNormBackward", "variance"});
  const op::Act other = add ? activationLike(device, add, x, {"batchNormBackward", "add"}) : op::Act{};
  NormGradients out = emptyGradients(device, x, gamma, beta, virtualSamples);
  device.launch(op::BatchNormBackward{input, gradient, activation(device, out.dx, {"batchNormBackward", "dx"}), other,
                                      splits, a.gamma, a.beta, mean, var, dataOrNull(out.dgamma), dataOrNull(out.dbeta),
                                      positive(epsilon, {"batchNormBackward", "epsilon"}), relu});
  return out;
}

DnnNormResult dnnBatchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon, bool relu) {
  constexpr const char* fn = "batchNorm";
  checkFloat(x, {fn, "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {fn, "x"});
  const float* scale = vector(device, gamma, input.c, {fn, "gamma"});
  const float* shift = vector(device, beta, input.c, {fn, "beta"});
  const float checkedEpsilon = positive(epsilon, {fn, "epsilon"});
  DnnNormResult out{emptyLike(device, x), emptyVector(device, input.c), emptyVector(device, input.c),
                    emptyVector(device, input.c)};
  device.launch(op::DnnBatchNorm{input, activation(device, out.y, {fn, "y"}), scale, shift, out.mean.data(),
                                 out.rstd.data(), out.var.data(), checkedEpsilon, relu});
  return out;
}

NormGradients dnnBatchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                   const Tensor& mean, const Tensor& rstd, bool relu) {
  constexpr const char* fn = "batchNormBackward";
  checkFloat(x, {fn, "x"});
  Device& device = x.device();
  const op::Act input = activation4(device, x, {fn, "x"});
  const op::Act gradient = activationLike(device, dy, x, {fn, "dy"});
  const float* scale = vector(device, gamma, input.c, {fn, "gamma"});
  const float* shift = vector(device, beta, input.c, {fn, "beta"});
  const float* center = vector(device, mean, input.c, {fn, "mean"});
  const float* factor = vector(device, rstd, input.c, {fn, "rstd"});
  NormGradients out = emptyGradients(device, x, gamma, beta, 0);
  device.launch(op::DnnBatchNormBackward{input, gradient, activation(device, out.dx, {fn, "dx"}), scale, shift, center,
                                         factor, out.dgamma.data(), out.dbeta.data(), relu});
  return out;
}

Tensor normalize(const Tensor& x, const Tensor& gamma, const Tensor& beta, const MeanVar& moments, double epsilon,
                 bool relu) {
  checkFloat(x, {"normalize", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"normalize", "x"});
  const Affine a = affine(device, gamma, beta, input.c, "normalize");
  const float* mean = vector(device, moments.mean, input.c, {"normalize", "mean"});
  const float* var = vector(device, moments.var, input.c, {"normalize", "variance"});
  const float checkedEpsilon = positive(epsilon, {"normalize", "epsilon"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Normalize{input, activation(device, y, {"normalize", "y"}), mean, var, a.gamma, a.beta,
                              checkedEpsilon, relu});
  return y;
}

NormGradients normalizeBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, double epsilon, bool relu) {
  checkFloat(x, {"normalizeBackward", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"normalizeBackward", "x"});
  const op::Act gradient = activationLike(device, dy, x, {"normalizeBackward", "dy"});
  const Affine a = affine(device, gamma, beta, input.c, "normalizeBackward");
  const float* mean = vector(device, moments.mean, input.c, {"normalizeBackward", "mean"});
  const float* var = vector(device, moments.var, input.c, {"normalizeBackward", "variance"});
  NormGradients out = emptyGradients(device, x, gamma, beta, 0);
  device.launch(op::NormalizeBackward{input, gradient, activation(device, out.dx, {"normalizeBackward", "dx"}), mean,
                                      var, a.gamma, a.beta, dataOrNull(out.dgamma), dataOrNull(out.dbeta),
                                      positive(epsilon, {"normalizeBackward", "epsilon"}), relu});
  return out;
}

}  // namespace kn
