#include "weight_standardize.h"

#include "checks.h"

namespace kn {
namespace {

op::Filter filter(Device& device, const Tensor& t, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  require(t.shape.rank() == 4 && t.format == Format::Filter, ErrorCode::ShapeMismatch, name,
          " must be a filter [out, in, height, width], got ", formatName(t.format), " ", t.shape.str());
  return {t.data(), t.shape[0], t.shape[1], t.shape[2], t.shape[3]};
}

}  // namespace

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
