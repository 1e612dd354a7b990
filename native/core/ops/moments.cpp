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
  result.out = inPlace ? device.overwritable(b) : emptyLike(device, a);
  if (splits) result.moments = {emptyVector(device, splits * left.c), emptyVector(device, splits * left.c)};
  op::Act out = right;
  out.data = result.out.data<void>();
  device.launch(op::AddMoments{left, right, out, splits, splits ? result.moments.mean.data() : nullptr,
                               splits ? result.moments.var.data() : nullptr});
  return result;
}

op::UpdateRunning runningUpdate(const MeanVar& statistics, const RunningAverages& running, int64_t splits,
                                const char* function) {
  op::UpdateRunning update;
  if (!running.mean) return update;
  checkFloat(statistics.mean, {function, "mean"});
  Device& device = statistics.mean.device();
  update.channels = statistics.mean.count() / splits;
  update.splits = splits;
  update.mean = vector(device, statistics.mean, splits * update.channels, {function, "mean"});
  update.var = vector(device, statistics.var, splits * update.channels, {function, "variance"});
  update.runningMean = vector(device, running.mean, update.channels, {function, "running.mean"});
  update.runningVar = vector(device, running.var, update.channels, {function, "running.variance"});
  update.momentum = fraction(running.momentum, {function, "running.momentum"});
  update.correction = positive(running.correction, {function, "running.correction"});
  update.allSplits = running.allSplits;
  return update;
}

void updateRunning(const MeanVar& statistics, const RunningAverages& running, int64_t splits) {
  constexpr const char* fn = "updateRunning";
  checkAlive(running.mean, {fn, "running.mean"});
  require(splits >= 1, ErrorCode::InvalidArgument, fn, ": splits must be at least 1, got ", splits);
  const op::UpdateRunning update = runningUpdate(statistics, running, splits, fn);
  running.mean.device().launch(update);
}

}  // namespace kn
