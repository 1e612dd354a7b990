#include "observed_variance.h"

#include "parameter_checks.h"

namespace kn {

void averageMoments(const MeanVar& moments, const MeanVar& averages, const Tensor& updates, double decay, bool warmUp) {
  constexpr const char* fn = "averageMoments";
  checkFloat(moments.mean, {fn, "mean"});
  Device& device = moments.mean.device();
  const int64_t channels = moments.mean.count();
  device.launch(op::AverageMoments{vector(device, moments.mean, channels, {fn, "mean"}),
                                   vector(device, moments.var, channels, {fn, "variance"}),
                                   vector(device, averages.mean, channels, {fn, "center"}),
                                   vector(device, averages.var, channels, {fn, "averageVariance"}), channels,
                                   integers(device, updates, 1, {fn, "updates"}), averageShareOf(decay, {fn, "decay"}),
                                   warmUp});
}

ObservedVarianceGradients observedVarianceBackward(const Tensor& w, const Tensor& slope, const Tensor& input,
                                                   const Tensor& variance, const Tensor& average,
                                                   const Tensor& dvariance) {
  constexpr const char* fn = "observedVarianceBackward";
  checkFloat(w, {fn, "weight"});
  Device& device = w.device();
  op::ObservedVarianceBackward launch{};
  launch.w = filter(device, w, {fn, "weight"});
  launch.slope = filter(device, slope, {fn, "slope"});
  checkShape(slope, w.shape, {fn, "slope"});
  checkFloat(input, {fn, "input"});
  const auto [out, in] = std::pair{launch.w.out, launch.w.in};
  launch.groups = input.count() / in;
  require(launch.groups > 0 && input.count() % in == 0 && out % launch.groups == 0, ErrorCode::ShapeMismatch, fn,
          ": input must have a value for each of the ", in, " input channels of each group, got ", input.shape.str());
  launch.input = vector(device, input, input.count(), {fn, "input"});
  launch.variance = vector(device, variance, out, {fn, "variance"});
  launch.average = vector(device, average, out, {fn, "average"});
  launch.dvariance = vector(device, dvariance, out, {fn, "dvariance"});
  ObservedVarianceGradients given{emptyLike(device, w), emptyLike(device, input)};
  launch.dw = filter(device, given.dw, {fn, "dw"});
  launch.dinput = given.dinput.data();
  device.launch(launch);
  return given;
}

}  // namespace kn
