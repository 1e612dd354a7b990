#include "weight_standardize.h"

#include "checks.h"

namespace kn {
NormResult weightStandardize(const Tensor& w, double epsilon) {
  checkFloat(w, {"weightStandardize", "weight"});
  Device& device = w.device();
  const op::Filter weights = filter(device, w, {"weightStandardize", "weight"});
  const float checkedEpsilon = positive(epsilon, {"weightStandardize", "epsilon"});
  NormResult out{emptyLike(device, w), emptyMeanVar(device, weights.out)};
  device.launch(op::WeightStandardize{weights, filter(device, out.y, {"weightStandardize", "y"}),
                                      out.moments.mean.data(), out.moments.var.data(), checkedEpsilon});
  return out;
}

Tensor weightStandardizeBackward(const Tensor& w, const Tensor& dy, const MeanVar& moments, double epsilon) {
  constexpr const char* fn = "weightStandardizeBackward";
  checkFloat(w, {fn, "weight"});
  Device& device = w.device();
  const op::Filter weights = filter(device, w, {fn, "weight"});
  const op::Filter gradient = filter(device, dy, {fn, "dy"});
  checkShape(dy, w.shape, {fn, "dy"});
  const float* mean = vector(device, moments.mean, weights.out, {fn, "mean"});
  const float* var = vector(device, moments.var, weights.out, {fn, "variance"});
  const float checkedEpsilon = positive(epsilon, {fn, "epsilon"});
  Tensor dw = emptyLike(device, w);
  device.launch(
      op::WeightStandardizeBackward{weights, gradient, filter(device, dw, {fn, "dw"}), mean, var, checkedEpsilon});
  return dw;
}

}  // namespace kn
