#include "group_norm.h"

#include "checks.h"

namespace kn {
namespace {

void checkGroups(int64_t groups, int64_t channels, Name name) {
  require(groups >= 1, ErrorCode::InvalidArgument, name, " must be at least 1, got ", groups);
  require(channels % groups == 0, ErrorCode::InvalidArgument, name, " must divide the number of channels; ", channels,
          " channels can't be cut into ", groups, " equal groups");
}

}  // namespace

NormResult groupNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t groups, double epsilon,
                     bool relu) {
  checkFloat(x, {"groupNorm", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"groupNorm", "x"});
  checkGroups(groups, input.c, {"groupNorm", "groups"});
  const float* scale = optionalVector(device, gamma, input.c, {"groupNorm", "gamma"});
  const float* shift = optionalVector(device, beta, input.c, {"groupNorm", "beta"});
  const float checkedEpsilon = positive(epsilon, {"groupNorm", "epsilon"});
  NormResult out;
  out.y = emptyLike(device, x);
  out.moments = {emptyVector(device, input.n * groups), emptyVector(device, input.n * groups)};
  device.launch(op::GroupNorm{input, activation(device, out.y, {"groupNorm", "y"}), groups, scale, shift,
                              out.moments.mean.data(), out.moments.var.data(), checkedEpsilon, relu});
  return out;
}

NormGradients groupNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t groups, double epsilon, bool relu, const Tensor& add,
                                int64_t virtualSamples) {
  checkFloat(x, {"groupNormBackward", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"groupNormBackward", "x"});
  checkGroups(groups, input.c, {"groupNormBackward", "groups"});
  const op::Act gradient = activationLike(device, dy, x, {"groupNormBackward", "dy"});
  const float* scale = optionalVector(device, gamma, input.c, {"groupNormBackward", "gamma"});
  const float* shift = optionalVector(device, beta, input.c, {"groupNormBackward", "beta"});
  const float* mean = vector(device, moments.mean, input.n * groups, {"groupNormBackward", "mean"});
  const float* var = vector(device, moments.var, input.n * groups, {"groupNormBackward", "variance"});
  const op::Act other = add ? activationLike(device, add, x, {"groupNormBackward", "add"}) : op::Act{};
  NormGradients out = emptyGradients(device, x, gamma, beta, virtualSamples);
  device.launch(op::GroupNormBackward{input, gradient, activation(device, out.dx, {"groupNormBackward", "dx"}), other,
                                      groups, scale, shift, mean, var, dataOrNull(out.dgamma), dataOrNull(out.dbeta),
                                      positive(epsilon, {"groupNormBackward", "epsilon"}), relu});
  return out;
}

}  // namespace kn
