#include "moments.h"

#include "checks.h"

namespace kn {

MeanVar moments(const Tensor& x, int64_t splits) {
  checkFloat(x, {"moments", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"moments", "x"});
  checkSplits(splits, input.n, {"moments", "splits"});
  MeanVar out{emptyVector(device, splits * input.c), emptyVector(device, splits * input.c)};
  device.launch(op::Moments{input, splits, out.mean.data(), out.var.data()});
  return out;
}

Tensor momentsBackward(const Tensor& x, int64_t splits, const Tensor& mean, const Tensor& dmean, const Tensor& dvar,
                       const Tensor& dx) {
  checkFloat(x, {"momentsBackward", "x"});
  Device& device = x.device();
  const op::Act input = activation(device, x, {"momentsBackward", "x"});
  checkSplits(splits, input.n, {"momentsBackward", "splits"});
  const int64_t count = splits * input.c;
  const float* center = vector(device, mean, count, {"momentsBackward", "mean"});
  const float* gradientMean = vector(device, dmean, count, {"momentsBackward", "dmean"});
  const float* gradientVar = vector(device, dvar, count, {"momentsBackward", "dvar"});
  Tensor out = dx ? dx : emptyLike(device, x);
  device.launch(op::MomentsBackward{input, splits, center, gradientMean, gradientVar,
                                    activationLike(device, out, x, {"momentsBackward", "dx"})});
  return out;
}

AddResult addMoments(const Tensor& a, const Tensor& b, int64_t splits, bool inPlace) {
  checkFloat(a, {"add", "a"});
  Device& device = a.device();
  const op::Act left = activation(device, a, {"add", "a"});
  const op::Act right = activationLike(device, b, a, {"add", "b"});
  if (splits) checkSplits(splits, left.n, {"add", "splits"});
  AddResult result;
  result.out = inPlace ? b : emptyLike(device, a);
  if (splits) result.moments = {emptyVector(device, splits * left.c), emptyVector(device, splits * left.c)};
  op::Act out = right;
  out.data = result.out.data<void>();
  device.launch(op::AddMoments{left, right, out, splits, splits ? result.moments.mean.data() : nullptr,
                               splits ? result.moments.var.data() : nullptr});
  return result;
}

void updateRunning(const Tensor& mean, const Tensor& var, const Tensor& runningMean, const Tensor& runningVar,
                   int64_t splits, double momentum, double correction, bool allSplits) {
  checkFloat(runningMean, {"updateRunning", "runningMean"});
  require(splits >= 1, ErrorCode::InvalidArgument, "updateRunning: splits must be at least 1, got ", splits);
  require(runningMean.shape.rank() == 1, ErrorCode::ShapeMismatch, "updateRunning: runningMean must be a vector, got ",
          runningMean.shape.str());
  Device& device = runningMean.device();
  const int64_t channels = runningMean.shape[0];
  op::UpdateRunning update;
  update.mean = vector(device, mean, splits * channels, {"updateRunning", "mean"});
  update.var = vector(device, var, splits * channels, {"updateRunning", "variance"});
  update.runningMean = vector(device, runningMean, channels, {"updateRunning", "runningMean"});
  update.runningVar = vector(device, runningVar, channels, {"updateRunning", "runningVariance"});
  update.splits = splits;
  update.channels = channels;
  update.momentum = fraction(momentum, {"updateRunning", "momentum"});
  update.correction = positive(correction, {"updateRunning", "correction"});
  update.allSplits = allSplits;
  device.launch(update);
}

}  // namespace kn
