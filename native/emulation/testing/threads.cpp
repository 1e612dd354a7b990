/// What ThreadSanitizer watches ("npm run cuda:sanitize"): the emulated CUDA device as its caller sees it, with a
/// selection of everything in which threads meet. Node itself can't run under that sanitizer.

#include <future>
#include <thread>

#include "checks.h"
#include "network.h"

namespace kn::testing {
namespace {

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
      {},
      {full(device, {8}, DType::F32, Format::Plain, 0), full(device, {8}, DType::F32, Format::Plain, 1)}};
  AdaptiveOptions options;
  options.splits = kSplits;
  options.relu = true;
  adaptiveKalmanNorm(layer, state, {}, options);
  const AdaptiveResult result = adaptiveKalmanNorm(layer, state, {}, options);
  AdaptiveBackwardOptions backward;
  backward.splits = kSplits;
  backward.relu = true;
  const AdaptiveGradients gradients = adaptiveKalmanNormBackward(layer, result, dy, {}, {}, backward, {}, 0);
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
  const PredictGradients dbelief =
      predictBackward(belief, w, kSplits, 6, 6, kSame, false, true, next.mean, next.var, {});
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
    device.whenDone([&order, &last, i](const Failure& failure) {
      order.push_back(failure ? -1 : i);
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
  network->step();
  network->reset();
  std::unique_ptr<Program> program = recorded(*device, *network);
  device->replay(*program, kSteps);
  const auto losses = startDownload(network->history());
  bool done = false;
  device->whenDone([&done](const Failure&) { done = true; });
  network = nullptr;
  program = nullptr;
  device = nullptr;
  check(done, "a callback was lost with the device");
  check((*losses)[kSteps - 1] > 0, "a download was lost with the device");
}

/// As in worker threads of Node: devices that know nothing of each other share the library. Two GPUs, too.
void checkTwoDevices() {
  Values results[2];
  const auto train = [](Values& result, int index) {
    const auto device = open(Precision::Float32, 0, index);
    Network network(*device);
    result = trained(network);
  };
  std::thread other([&] { train(results[1], 1); });
  train(results[0], 0);
  other.join();
  check(results[0] == results[1], "a device's results depend on another device");
}

}  // namespace

void checkThreads() {
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
}

}  // namespace kn::testing
