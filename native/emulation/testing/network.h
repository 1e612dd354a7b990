#pragma once
#include <atomic>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "../../core/operations.h"
#include "../../core/runtime/device.h"
#include "../../cuda/runtime/cuda_device.h"

extern "C" const kn::CudaEntry* kalman_norm_cuda_entry();

/// What the checks of the emulated device share: a small network of all kinds of layers, and its training.
namespace kn::testing {

constexpr int64_t kBatch = 8, kSplits = 4, kSize = 8, kImages = 12, kClasses = 5, kSteps = 3;
constexpr op::ConvShape kSame{1, 1, 1, 1, 1, 1};
constexpr double kEpsilon = 1e-5;

inline std::atomic<int> failures{0};

inline void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "device_check: %s\n", what);
  ++failures;
}

inline std::unique_ptr<Device> open(Precision precision, size_t memoryLimit = 0, int index = 0) {
  CudaOptions options;
  options.index = index;
  options.precision = precision;
  options.memoryLimit = memoryLimit;
  return kalman_norm_cuda_entry()->open(options);
}

/// Values between -1 and 1 without a pattern that an operation could miss.
inline std::vector<float> wave(int64_t count, double phase) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i) + phase));
  return values;
}

inline Tensor waveOn(Device& device, const Shape& shape, Format format, double phase) {
  return uploadFloat(device, shape, format, wave(shape.count(), phase).data());
}

inline std::shared_ptr<std::vector<float>> startDownload(const Tensor& tensor) {
  auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(tensor.count()));
  read(tensor, values->data(), values->size() * sizeof(float), values);
  return values;
}

using Values = std::vector<std::vector<float>>;

inline Values download(const std::vector<Tensor>& tensors) {
  std::vector<std::shared_ptr<std::vector<float>>> pending;
  for (const Tensor& tensor : tensors) pending.push_back(startDownload(tensor));
  tensors[0].device().synchronize();
  Values all;
  for (const auto& values : pending) all.push_back(std::move(*values));
  return all;
}

inline bool finite(const Values& all) {
  for (const auto& values : all)
    for (const float value : values)
      if (!std::isfinite(value)) return false;
  return true;
}

/// A Kalman layer that draws virtual samples, one that takes them in, and a batch normalization, each behind a
/// convolution; trained on images that the device gathers.
class Network {
 public:
  explicit Network(Device& device) : device_(device) {
    std::vector<uint8_t> pixels(kImages * 3 * kSize * kSize);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37 % 251);
    std::vector<int32_t> classes(kImages), order(kSteps * kBatch);
    for (size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<int32_t>(i % kClasses);
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i * 5 % kImages);
    images_ = uploadBytes(device, {kImages, 3, kSize, kSize}, pixels.data());
    labels_ = uploadInt(device, {kImages}, classes.data());
    mean_ = full(device, {3, kSize, kSize}, DType::F32, Format::Plain, 120);
    order_ = uploadInt(device, {kSteps * kBatch}, order.data());
    cursor_ = full(device, {1}, DType::I32, Format::Plain, 0);
    random_ = full(device, {3}, DType::I32, Format::Plain, 0);
    rate_ = full(device, {1}, DType::F32, Format::Plain, 0.05);
    history_ = full(device, {kSteps}, DType::F32, Format::Plain, 0);
    for (const int64_t inputs : {3, 8, 8}) addParameter({8, inputs, 3, 3}, Format::Filter);
    for (int i = 0; i < 6; ++i) addParameter({8}, Format::Plain);  // gamma and beta, in turns
    addParameter({8, kClasses}, Format::Plain);
    addParameter({kClasses}, Format::Plain);
  }

  /// Back to the first step.
  void reset() {
    const int32_t zero = 0, state[3] = {7, 1, 0};
    write(cursor_, &zero, sizeof zero);
    write(random_, state, sizeof state);
    fill(history_, 0);
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor& weight = parameters_[i].weight;
      const std::vector<float> values = wave(weight.count(), static_cast<double>(i) + 0.5);
      write(weight, values.data(), values.size() * sizeof(float));
      fill(parameters_[i].momentum, 0);
    }
  }

  void step() {
    const auto weight = [this](size_t i) -> const Tensor& { return parameters_[i].weight; };
    const GatherInput batchOf{.images = images_,
                              .labels = labels_,
                              .mean = mean_,
                              .indices = order_,
                              .cursor = cursor_,
                              .batch = kBatch,
                              .pad = 2,
                              .cutout = 3,
                              .scale = 1.0 / 64,
                              .augment = true,
                              .random = {random_, 0}};
    const Batch batch = gather(batchOf);

    const KalmanLayer first{conv2d(batch.images, weight(0), kSame), weight(3), weight(4), {}};
    const KalmanOptions drawing{.splits = kSplits, .sample = true, .relu = true};
    const KalmanResult firstOut = kalmanNorm(first, {.random = {random_, 1}}, drawing);
    const KalmanLayer second{conv2d(firstOut.y, weight(1), kSame), weight(5), weight(6), {}};
    const KalmanOptions taking{.splits = kSplits, .hasVirtual = true, .relu = true};
    const KalmanResult secondOut = kalmanNorm(second, {}, taking);
    const Tensor third = conv2d(secondOut.y, weight(2), kSame);
    const NormResult norm = batchNorm(third, weight(7), weight(8), kSplits, kEpsilon, true, {}, {});
    const Tensor features = globalAvgPool(norm.y);
    const LossResult loss = crossEntropy(linear(features, weight(9), weight(10)), batch.labels, 0, {}, {});

    std::vector<Tensor> d(parameters_.size());
    LinearGradients top = linearBackward(features, weight(9), loss.dlogits, true, true);
    d[9] = top.dw;
    d[10] = top.db;
    NormGradients dnorm = batchNormBackward(third, globalAvgPoolBackward(top.dx, norm.y, 0), weight(7), weight(8),
                                            norm.moments, kSplits, kEpsilon, true, {}, 0);
    d[7] = dnorm.dgamma;
    d[8] = dnorm.dbeta;
    d[2] = conv2dBackwardWeights(secondOut.y, dnorm.dx, weight(2), kSame);
    Tensor dy = conv2dBackwardData(dnorm.dx, weight(2), secondOut.y, kSame);
    KalmanGradients dkalman = kalmanNormBackward(second, secondOut, dy, {}, taking, {}, 0);
    d[5] = dkalman.dgamma;
    d[6] = dkalman.dbeta;
    d[1] = conv2dBackwardWeights(firstOut.y, dkalman.dx, weight(1), kSame);
    dy = conv2dBackwardData(dkalman.dx, weight(1), firstOut.y, kSame);
    dkalman = kalmanNormBackward(first, firstOut, dy, {}, drawing, {}, 0);
    d[3] = dkalman.dgamma;
    d[4] = dkalman.dbeta;
    d[0] = conv2dBackwardWeights(batch.images, dkalman.dx, weight(0), kSame);

    for (size_t i = 0; i < d.size(); ++i) parameters_[i].gradient = d[i];
    sgd(parameters_, rate_, 0.9, false, {});
    for (SgdTensors& parameter : parameters_) parameter.gradient = {};
    append(loss.loss, cursor_, history_);
    advance(cursor_, 1);
    advance(random_.samples(2, 1), 1);
  }

  /// The losses so far, and all weights.
  std::vector<Tensor> tensors() const {
    std::vector<Tensor> tensors{history_};
    for (const SgdTensors& parameter : parameters_) tensors.push_back(parameter.weight);
    return tensors;
  }
  Values state() const { return download(tensors()); }
  const Tensor& history() const { return history_; }

 private:
  void addParameter(const Shape& shape, Format format) {
    SgdTensors parameter;
    parameter.weight = full(device_, shape, DType::F32, format, 0);
    parameter.momentum = full(device_, shape, DType::F32, format, 0);
    parameter.weightDecay = 1e-3;
    parameters_.push_back(parameter);
  }

  Device& device_;
  Tensor images_, labels_, mean_, order_, cursor_, random_, rate_, history_;
  std::vector<SgdTensors> parameters_;
};

inline Values trained(Network& network) {
  network.reset();
  for (int64_t i = 0; i < kSteps; ++i) network.step();
  return network.state();
}

inline std::unique_ptr<Program> recorded(Device& device, Network& network) {
  device.beginRecording();
  network.step();
  return device.endRecording();
}

}  // namespace kn::testing
