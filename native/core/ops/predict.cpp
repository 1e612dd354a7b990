#include "predict.h"

#include "checks.h"

namespace kn {
namespace {

op::Predict check(Device& device, const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                  const op::ConvShape& shape, bool population, bool rectified) {
  constexpr const char* fn = "predict";
  const op::Filter weights = filter(device, w, {fn, "weight"});
  require(shape.plain(), ErrorCode::InvalidArgument, fn, ": expected no dilation and no groups");
  require(splits >= 1, ErrorCode::InvalidArgument, fn, ": splits must be at least 1, got ", splits);
  require(w.shape[2] <= 32 && w.shape[3] <= 32, ErrorCode::InvalidArgument, fn,
          ": weight must have at most 32 x 32 taps, got ", w.shape.str());
  require(height >= 1 && width >= 1 && height + shape.top + shape.bottom >= w.shape[2] &&
              width + shape.left + shape.right >= w.shape[3],
          ErrorCode::ShapeMismatch, fn, ": the filter ", w.shape.str(), " is larger than the padded input of ", height,
          " x ", width);
  const int64_t count = splits * w.shape[1];
  op::Predict out{};
  out.mean = vector(device, belief.mean, count, {fn, "mean"});
  out.var = vector(device, belief.var, count, {fn, "variance"});
  out.splits = splits;
  out.height = height;
  out.width = width;
  out.w = weights;
  out.shape = shape;
  out.population = population;
  out.rectified = rectified;
  return out;
}

}  // namespace

MeanVar predict(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                const op::ConvShape& shape, bool population, bool rectified) {
  checkFloat(belief.mean, {"predict", "mean"});
  Device& device = belief.mean.device();
  op::Predict launch = check(device, belief, w, splits, height, width, shape, population, rectified);
  MeanVar out{emptyVector(device, splits * w.shape[0]), emptyVector(device, splits * w.shape[0])};
  launch.outMean = out.mean.data();
  launch.outVar = out.var.data();
  device.launch(launch);
  return out;
}

PredictGradients predictBackward(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                                 const op::ConvShape& shape, bool population, bool rectified, const Tensor& dmean,
                                 const Tensor& dvariance, const ShownVariance& shown) {
  constexpr const char* fn = "predictBackward";
  checkFloat(belief.mean, {fn, "mean"});
  Device& device = belief.mean.device();
  const op::Predict forward = check(device, belief, w, splits, height, width, shape, population, rectified);
  const int64_t outputs = splits * w.shape[0];
  const op::ShownSlope slope = dvariance ? shownSlope(device, shown, w, fn) : op::ShownSlope{};
  require(!slope.slope || splits == 1, ErrorCode::InvalidArgument, fn, ": a slope belongs to one split, got ", splits);
  PredictGradients out;
  out.dbelief = {emptyLike(device, belief.mean), emptyLike(device, belief.var)};
  out.dw = emptyLike(device, w);
  const op::Filter dw = filter(device, out.dw, {fn, "dw"});
  device.launch(op::PredictBackward{forward.mean, forward.var, splits, height, width, forward.w, shape, population,
                                    rectified, vector(device, dmean, outputs, {fn, "dmean"}),
                                    optionalVector(device, dvariance, outputs, {fn, "dvariance"}), slope,
                                    out.dbelief.mean.data(), out.dbelief.var.data(), dw});
  return out;
}

MeanVar rectifyBelief(const MeanVar& belief) {
  constexpr const char* fn = "rectifyBelief";
  checkFloat(belief.mean, {fn, "mean"});
  Device& device = belief.mean.device();
  const int64_t count = belief.mean.count();
  MeanVar out = emptyMeanVar(device, count);
  device.launch(op::RectifyBelief{vector(device, belief.mean, count, {fn, "mean"}),
                                  vector(device, belief.var, count, {fn, "variance"}), out.mean.data(), out.var.data(),
                                  count});
  return out;
}

MeanVar rectifyBeliefBackward(const MeanVar& belief, const MeanVar& dout) {
  constexpr const char* fn = "rectifyBeliefBackward";
  checkFloat(belief.mean, {fn, "mean"});
  Device& device = belief.mean.device();
  const int64_t count = belief.mean.count();
  MeanVar out = emptyMeanVar(device, count);
  device.launch(op::RectifyBeliefBackward{
      vector(device, belief.mean, count, {fn, "mean"}), vector(device, belief.var, count, {fn, "variance"}),
      vector(device, dout.mean, count, {fn, "dmean"}), vector(device, dout.var, count, {fn, "dvariance"}),
      out.mean.data(), out.var.data(), count});
  return out;
}

Tensor samplePrior(const MeanVar& prior, int64_t splits, int64_t height, int64_t width, const RandomSource& source,
                   const Tensor& noise) {
  constexpr const char* fn = "samplePrior";
  checkFloat(prior.mean, {fn, "mean"});
  Device& device = prior.mean.device();
  const int64_t count = prior.mean.count();
  require(splits >= 1 && count % splits == 0, ErrorCode::ShapeMismatch, fn,
          ": mean must hold splits·channels values for ", splits, " splits, got ", count);
  op::SamplePrior sample{};
  sample.mean = vector(device, prior.mean, count, {fn, "mean"});
  sample.var = vector(device, prior.var, count, {fn, "variance"});
  const Shape shape{splits, count / splits, height, width};
  if (noise) {
    sample.noise = activation(device, noise, {fn, "noise"});
    checkShape(noise, shape, {fn, "noise"});
  } else {
    sample.random = randomOf(device, source, {fn, "generator"});
  }
  Tensor y = device.empty(shape, DType::F32, Format::Activation);
  sample.y = activation(device, y, {fn, "y"});
  device.launch(sample);
  return y;
}

MeanVar samplePriorBackward(const MeanVar& prior, const Tensor& y, const Tensor& dy) {
  constexpr const char* fn = "samplePriorBackward";
  checkFloat(y, {fn, "y"});
  Device& device = y.device();
  const op::Act output = activation(device, y, {fn, "y"});
  const int64_t count = output.n * output.c;
  MeanVar out{emptyVector(device, count), emptyVector(device, count)};
  device.launch(op::SamplePriorBackward{vector(device, prior.mean, count, {fn, "mean"}),
                                        vector(device, prior.var, count, {fn, "variance"}), output,
                                        activationLike(device, dy, y, {fn, "dy"}), out.mean.data(), out.var.data()});
  return out;
}

}  // namespace kn
