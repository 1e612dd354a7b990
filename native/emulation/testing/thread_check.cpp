/// What ThreadSanitizer watches ("npm run cuda:sanitize"): the emulated CUDA device as its caller sees it, with a
/// selection of everything in which threads meet. Node itself can't run under that sanitizer. Exits with 1 where a
/// result is wrong; a data race ends the process by itself.

#include <atomic>
#include <cmath>
#include <cstdio>
#include <future>
#include <thread>
#include <utility>

#include "../../core/operations.h"
#include "../../core/runtime/device.h"
#include "../../cuda/runtime/cuda_device.h"

extern "C" const kn::CudaEntry* kalman_norm_cuda_entry();

namespace kn {
namespace {

constexpr int64_t kBatch = 8, kSplits = 4, kSize = 8, kImages = 12, kClasses = 5, kSteps = 3;
constexpr op::ConvShape kSame{1, 1, 1, 1, 1, 1};
constexpr double kEpsilon = 1e-5;

std::atomic<int> failures{0};

void check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "thread_check: %s\n", what);
  ++failures;
}

std::unique_ptr<Device> open(Precision precision, size_t memoryLimit = 0) {
  CudaOptions options;
  options.precision = precision;
  options.memoryLimit = memoryLimit;
  return kalman_norm_cuda_entry()->open(options);
}

/// Values between -1 and 1 without a pattern that an operation could miss.
std::vector<float> wave(int64_t count, double phase) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i) + phase));
  return values;
}

Tensor waveOn(Device& device, const Shape& shape, Format format, double phase) {
  return uploadFloat(device, shape, format, wave(shape.count(), phase).data());
}

std::shared_ptr<std::vector<float>> startDownload(const Tensor& tensor) {
  auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(tensor.count()));
  read(tensor, values->data(), values->size() * sizeof(float), values);
  return values;
}

using Values = std::vector<std::vector<float>>;

Values download(const std::vector<Tensor>& tensors) {
  std::vector<std::shared_ptr<std::vector<float>>> pending;
  for (const Tensor& tensor : tensors) pending.push_back(startDownload(tensor));
  tensors[0].device().synchronize();
  Values all;
  for (const auto& values : pending) all.push_back(std::move(*values));
  return all;
}

bool finite(const Values& all) {
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
    std::vector<uint8_t> pixels(kImages * 3 * kSize * kSize), classes(kImages);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 37 % 251);
    for (size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<uint8_t>(i % kClasses);
    std::vector<int32_t> order(kSteps * kBatch);
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i * 5 % kImages);
    images_ = uploadBytes(device, {kImages, 3, kSize, kSize}, pixels.data());
    labels_ = uploadBytes(device, {kImages}, classes.data());
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
    const NormResult norm = batchNorm(third, weight(7), weight(8), kSplits, kEpsilon, true, {});
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
  Values state() const {
    std::vector<Tensor> tensors{history_};
    for (const SgdTensors& parameter : parameters_) tensors.push_back(parameter.weight);
    return download(tensors);
  }
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

Values trained(Network& network) {
  network.reset();
  for (int64_t i = 0; i < kSteps; ++i) network.step();
  return network.state();
}

std::unique_ptr<Program> recorded(Device& device, Network& network) {
  device.beginRecording();
  network.step();
  return device.endRecording();
}

/// What small whole numbers become is the same in all precisions.
void checkTransfers(Device& device) {
  std::vector<float> values(2 * 5 * 3 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor activation = uploadFloat(device, {2, 5, 3, 3}, Format::Activation, values.data());
  const Tensor filter = uploadFloat(device, {2, 5, 3, 3}, Format::Filter, values.data());
  const Tensor plain = reshape(activation, {90}, Format::Plain);
  const Values back = download({activation, filter, plain});
  check(back == Values{values, values, values}, "values have changed on their way");
}

void checkTraining(Device& device) {
  Network network(device);
  const Values eager = trained(network);
  check(finite(eager) && eager[0][0] > 0.1f && eager[0][0] != eager[0][1], "training gives no losses");
  check(trained(network) == eager, "training differs from run to run");
  network.reset();
  const std::unique_ptr<Program> program = recorded(device, network);
  check(program->launches() > 20, "the recorded step is empty");
  device.replay(*program, 1);
  device.replay(*program, kSteps - 1);
  check(network.state() == eager, "replayed steps differ from eager ones");
}

/// Two steps of the adaptive filter.
Values adaptiveKernels(Device& device, const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta) {
  const AdaptiveLayer layer{x, gamma, beta, {beta, full(device, {8}, DType::F32, Format::Plain, 1)}};
  const AdaptiveState state{
      full(device, {adaptive::kRows, 8}, DType::F32, Format::Plain, 0),
      {full(device, {8}, DType::F32, Format::Plain, 0), full(device, {8}, DType::F32, Format::Plain, 1)}};
  AdaptiveOptions options;
  options.splits = kSplits;
  options.relu = true;
  adaptiveKalmanNorm(layer, state, {}, options);
  const AdaptiveResult result = adaptiveKalmanNorm(layer, state, {}, options);
  AdaptiveBackwardOptions backward;
  backward.splits = kSplits;
  backward.relu = true;
  const AdaptiveGradients gradients = adaptiveKalmanNormBackward(layer, result, dy, {}, backward, {}, 0);
  return download({result.y, result.belief.mean, state.filter, state.running.var, gradients.dx, gradients.dgamma,
                   gradients.dbeta, gradients.dprior.mean, gradients.dprior.var});
}

/// The kernels that the network has no use for.
Values otherKernels(Device& device) {
  const Shape shape{kBatch, 8, 6, 6};
  const Tensor x = waveOn(device, shape, Format::Activation, 1), dy = waveOn(device, shape, Format::Activation, 2);
  const Tensor gamma = waveOn(device, {8}, Format::Plain, 3), beta = waveOn(device, {8}, Format::Plain, 4);
  const Tensor w = waveOn(device, {8, 8, 3, 3}, Format::Filter, 5);
  const NormResult group = groupNorm(x, gamma, beta, 2, kEpsilon, true);
  const NormGradients dgroup = groupNormBackward(x, dy, gamma, beta, group.moments, 2, kEpsilon, true, {}, 0);
  const AddResult sum = addMoments(x, dy, kSplits, false);
  const Tensor target = scale(dy, 2);
  const AddResult sumInPlace = addMoments(x, target, kSplits, true);
  const MeanVar belief = sum.moments;
  const MeanVar next = predict(belief, w, kSplits, 6, 6, kSame, false, true);
  const PredictGradients dbelief = predictBackward(belief, w, kSplits, 6, 6, kSame, false, true, next);
  const MeanVar rectified = rectifyBelief(belief), drectified = rectifyBeliefBackward(belief, rectified);
  const Tensor product = binary(x, dy, BinaryKind::Multiply);
  const Values filtered = adaptiveKernels(device, x, dy, gamma, beta);
  const Tensor random = full(device, {3}, DType::I32, Format::Plain, 9);
  const Tensor drawn = samplePrior(belief, kSplits, 6, 6, {random, 0}, {});
  const MeanVar ddrawn = samplePriorBackward(belief, drawn, x.samples(0, kSplits));
  const Tensor dsum = momentsBackward(x, kSplits, belief.mean, belief.var, belief.mean, {});
  const Tensor pooled = avgPool2d(x, 2), wide = padChannels(pooled, 2, 3);
  const Tensor lossScale = full(device, {3}, DType::F32, Format::Plain, 1);
  checkFinite({gamma, beta, w}, lossScale);
  updateLossScale(lossScale, 2, 0.5, 1);
  Values values = download({group.y,
                            dgroup.dx,
                            dgroup.dgamma,
                            dgroup.dbeta,
                            sum.out,
                            target,
                            sumInPlace.moments.var,
                            next.mean,
                            next.var,
                            dbelief.dbelief.mean,
                            dbelief.dw,
                            drawn,
                            ddrawn.mean,
                            ddrawn.var,
                            dsum,
                            wide,
                            avgPool2dBackward(pooled, x, 2, 0),
                            lossScale,
                            rectified.mean,
                            rectified.var,
                            drectified.mean,
                            drectified.var,
                            product});
  values.insert(values.end(), filtered.begin(), filtered.end());
  return values;
}

void checkOtherKernels(Device& device) {
  const Values once = otherKernels(device);
  check(finite(once), "a kernel gives NaN");
  check(otherKernels(device) == once, "a kernel's results differ from run to run");
}

/// Callbacks come in order, each after the work before it, on a thread of the device.
void checkCallbacks(Device& device) {
  const Tensor x = waveOn(device, {4096}, Format::Plain, 0);
  std::vector<int> order;
  std::promise<void> last;
  for (int i = 0; i < 20; ++i) {
    relu(x);
    device.whenDone([&order, &last, i](const std::string& failure) {
      order.push_back(failure.empty() ? i : -1);
      if (i == 19) last.set_value();
    });
  }
  last.get_future().wait();
  for (int i = 0; i < 20; ++i) check(order[static_cast<size_t>(i)] == i, "a callback came out of turn");
}

void checkOutOfMemory() {
  const auto device = open(Precision::Float32, 1 << 20);
  full(*device, {100'000}, DType::F32, Format::Plain, 1);
  // Fits only after the pool has given back what it holds.
  const Tensor large = full(*device, {200'000}, DType::F32, Format::Plain, 2);
  bool refused = false;
  try {
    full(*device, {100'000}, DType::F32, Format::Plain, 1);
  } catch (const Error& error) {
    refused = error.code == ErrorCode::OutOfMemory;
  }
  check(refused, "memory beyond the limit was given out");
  check(download({large})[0].back() == 2, "values are lost when memory runs out");
}

/// Everything is given up while the device still works on it; what was promised comes nevertheless.
void checkDisposal(Precision precision) {
  auto device = open(precision);
  auto network = std::make_unique<Network>(*device);
  network->reset();
  std::unique_ptr<Program> program = recorded(*device, *network);
  device->replay(*program, kSteps);
  const auto losses = startDownload(network->history());
  bool done = false;
  device->whenDone([&done](const std::string&) { done = true; });
  network = nullptr;
  program = nullptr;
  device = nullptr;
  check(done, "a callback was lost with the device");
  check((*losses)[kSteps - 1] > 0, "a download was lost with the device");
}

/// As in worker threads of Node: devices that know nothing of each other share the library.
void checkTwoDevices() {
  Values results[2];
  const auto train = [](Values& result) {
    const auto device = open(Precision::Float32);
    Network network(*device);
    result = trained(network);
  };
  std::thread other([&] { train(results[1]); });
  train(results[0]);
  other.join();
  check(results[0] == results[1], "a device's results depend on another device");
}

int run() {
  for (const Precision precision : {Precision::Float32, Precision::BFloat16}) {
    const auto device = open(precision);
    checkTransfers(*device);
    checkTraining(*device);
    checkOtherKernels(*device);
    checkCallbacks(*device);
    checkDisposal(precision);
  }
  checkOutOfMemory();
  checkTwoDevices();
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kn

int main() {
  try {
    return kn::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "thread_check: %s\n", error.what());
    return 1;
  }
}
