#include "observed_variance.h"

#include "parameter_checks.h"

namespace kn {

void averageMoments(const MeanVar& moments, const MeanVar& averages, const Tensor& updates, double decay, bool warmUp) {
  constexpr const char* fn = "averageMoments";
  checkFloat(moments.mean, {fn, "mean"});
  Device& device = moments.mean.device();
  const int64_t channels = moments.mean.count();
  device.launch(op::AverageMoments{
      vector(device, moments.mean, channels, {fn, "mean"}), vector(device, moments.var, channels, {fn, "variance"}),
      vector(device, averages.mean, channels, {fn, "center"}),
      vector(device, averages.var, channels, {fn, "averageVariance"}), channels,
      integers(device, updates, 1, {fn, "updates"}), averageShareOf(decay, {fn, "decay"}), warmUp});
}

Tensor center(const Tensor& x, const Tensor& center) {
  checkFloat(x, {"center", "x"});
  Device& device = x.device();
  const op::Act from = activation(device, x, {"center", "x"});
  const float* const taken = vector(device, center, from.c, {"center", "center"});
  Tensor y = emptyLike(device, x);
  device.launch(op::Center{from, taken, activation(device, y, {"center", "y"})});
  return y;
}

ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const Tensor& slope, const MeanVar& belief,
                                                   bool rectified, const Tensor& variance, const Tensor& average,
                                                   const Tensor& dvariance) {
  constexpr const char* fn = "observedVarianceBackward";
  checkFloat(w, {fn, "weight"});
  Device& device = w.device();
  op::ObservedVarianceBackward launch{};
  launch.w = filter(device, w, {fn, "weight"});
  launch.slope = filter(device, slope, {fn, "slope"});
  checkShape(slope, w.shape, {fn, "slope"});
  checkFloat(belief.mean, {fn, "mean"});
  const int64_t inputs = belief.mean.count(), out = launch.w.out;
  launch.groups = inputs / launch.w.in;
  require(launch.groups > 0 && inputs % launch.w.in == 0 && out % launch.groups == 0, ErrorCode::ShapeMismatch, fn,
          ": mean must have a value for each input channel of one or more groups of ", w.shape.str(), ", got ",
          belief.mean.shape.str());
  launch.mean = vector(device, belief.mean, inputs, {fn, "mean"});
  launch.var = vector(device, belief.var, inputs, {fn, "inputVariance"});
  launch.rectified = rectified;
  launch.variance = vector(device, variance, out, {fn, "variance"});
  launch.average = vector(device, average, out, {fn, "average"});
  launch.dvariance = vector(device, dvariance, out, {fn, "dvariance"});
  ObservedVarianceGradients given{emptyLike(device, w), emptyMeanVar(device, inputs)};
  launch.dw = filter(device, given.dw, {fn, "dw"});
  launch.dmean = given.dbelief.mean.data();
  launch.dvar = given.dbelief.var.data();
  device.launch(launch);
  return given;
}

}  // namespace kn
