#include "observed_variance.h"

#include "memory.h"
#include "parameter_checks.h"

namespace kn {

CenteredSamples centerObserved(const Tensor& y, const MeanVar& averages, const Tensor& updates, double decay,
                               bool warmUp) {
  constexpr const char* fn = "centerObserved";
  checkFloat(y, {fn, "y"});
  Device& device = y.device();
  op::CenterObserved launch{};
  launch.y = activation(device, y, {fn, "y"});
  launch.center = vector(device, averages.mean, launch.y.c, {fn, "center"});
  launch.variance = vector(device, averages.var, launch.y.c, {fn, "averageVariance"});
  launch.updates = integers(device, updates, 1, {fn, "updates"});
  launch.share = averageShareOf(decay, {fn, "decay"});
  launch.warmUp = warmUp;
  CenteredSamples out{emptyLike(device, y), emptyVector(device, 2 * launch.y.c + 1)};
  launch.next = out.next.data();
  launch.centered = activation(device, out.centered, {fn, "centered"});
  device.launch(launch);
  return out;
}

void averageObserved(const Tensor& products, double scale, const Tensor& next, const Tensor& slope,
                     const MeanVar& averages, const Tensor& updates) {
  constexpr const char* fn = "averageObserved";
  checkFloat(slope, {fn, "slope"});
  Device& device = slope.device();
  const int64_t channels = filter(device, slope, {fn, "slope"}).out;
  checkFloat(products, {fn, "products"});
  checkDevice(device, products, {fn, "products"});
  checkShape(products, slope.shape, {fn, "products"});
  require(products.format == slope.format, ErrorCode::InvalidArgument, fn, ": products must have the ",
          formatName(slope.format), " format, got ", formatName(products.format));
  checkFinite(scale, {fn, "scale"});
  op::AverageObserved launch{};
  launch.products = {products.data<void>(), parameterCount(device, slope, {fn, "slope"}), products.stored};
  launch.scale = static_cast<float>(scale);
  launch.next = vector(device, next, 2 * channels + 1, {fn, "next"});
  launch.slope = valuesBeside(device, slope, slope, {fn, "slope"});
  launch.center = vector(device, averages.mean, channels, {fn, "center"});
  launch.variance = vector(device, averages.var, channels, {fn, "averageVariance"});
  launch.channels = channels;
  launch.updates = const_cast<int32_t*>(integers(device, updates, 1, {fn, "updates"}));
  device.launch(launch);
  written(slope);
}

op::ShownSlope shownSlope(Device& device, const ShownVariance& shown, const Tensor& w, const char* fn) {
  op::ShownSlope out{};
  if (!shown.slope) return out;
  out.slope = filter(device, shown.slope, {fn, "slope"}).data;
  checkShape(shown.slope, w.shape, {fn, "slope"});
  out.variance = vector(device, shown.variance, w.shape[0], {fn, "believed"});
  out.average = vector(device, shown.average, w.shape[0], {fn, "average"});
  return out;
}

ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const MeanVar& belief, bool rectified,
                                                   const ShownVariance& shown, const Tensor& dvariance) {
  constexpr const char* fn = "observedVarianceBackward";
  checkFloat(w, {fn, "weight"});
  Device& device = w.device();
  op::ObservedVarianceBackward launch{};
  launch.w = filter(device, w, {fn, "weight"});
  checkFloat(shown.slope, {fn, "slope"});
  launch.shown = shownSlope(device, shown, w, fn);
  checkFloat(belief.mean, {fn, "mean"});
  const int64_t inputs = belief.mean.count(), out = launch.w.out;
  launch.groups = inputs / launch.w.in;
  require(launch.groups > 0 && inputs % launch.w.in == 0 && out % launch.groups == 0, ErrorCode::ShapeMismatch, fn,
          ": mean must have a value for each input channel of one or more groups of ", w.shape.str(), ", got ",
          belief.mean.shape.str());
  launch.mean = vector(device, belief.mean, inputs, {fn, "mean"});
  launch.var = vector(device, belief.var, inputs, {fn, "inputVariance"});
  launch.rectified = rectified;
  launch.dvariance = vector(device, dvariance, out, {fn, "dvariance"});
  ObservedVarianceGradients given{emptyLike(device, w), emptyMeanVar(device, inputs)};
  launch.dw = filter(device, given.dw, {fn, "dw"});
  launch.dmean = given.dbelief.mean.data();
  launch.dvar = given.dbelief.var.data();
  device.launch(launch);
  return given;
}

}  // namespace kn
