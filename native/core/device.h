#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "allocator.h"
#include "executor.h"
#include "ops.h"
#include "tensor.h"

namespace kn {

class Device;

/// A recorded step of a device: launches bound to memory of their own.
class Program {
 public:
  explicit Program(const Device* device) : device(device) {}
  virtual ~Program() = default;
  virtual size_t launches() const = 0;
  virtual MemoryStats memory() const = 0;

  const Device* const device;
};

/// What every device can do: an in-order stream of launches. Nothing here blocks except `synchronize`. The functions of
/// functions.h check arguments and allocate results; `launch` enqueues what is known to fit.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  virtual std::string description() const = 0;

  /// Throws OutOfMemory after trimming the pool and one retry.
  Tensor empty(const Shape& shape, DType dtype, Format format, int64_t extraSamples = 0);
  MemoryStats memoryStats() const { return allocator_->stats(); }
  void resetPeakMemory() { allocator_->resetPeak(); }
  void trimMemory();

  /// Runs `done` when everything enqueued so far has run, with the reason of failure or an empty string. `done` runs on
  /// a thread of the device.
  virtual void whenDone(std::function<void(const std::string& failure)> done) = 0;
  virtual void synchronize() = 0;
  /// Throws DeviceFailed when an enqueued launch failed.
  virtual void checkHealth() const = 0;

  /// Until `endRecording`, launches are kept instead of run and memory comes from a pool that the program owns.
  void beginRecording();
  std::unique_ptr<Program> endRecording();
  void abandonRecording();
  bool recording() const { return recordingPool_ != nullptr; }
  /// Enqueues `count` runs of a program of this device.
  void replay(Program& program, int64_t count);
  /// Keeps memory that a recorded launch uses alive as long as the program.
  void retain(const Tensor& tensor);

  virtual void setProfiling(bool on) = 0;
  virtual std::map<std::string, ProfileEntry> profile() const = 0;

  /// Memory of the host from which the device copies well.
  virtual std::shared_ptr<void> hostMemory(size_t bytes);
  /// Values of the physical layout of a tensor (padding included).
  virtual int64_t physicalCount(const Shape& shape, Format format) const = 0;
  /// How activations [N, C, H, W] are stored. Matrices, filters and statistics are always float32.
  virtual DType activationType() const { return DType::F32; }
  /// The format in which a convolution reads images of few channels best.
  virtual Format imageFormat() const { return Format::Plain; }

  virtual void launch(const op::Fill&) = 0;
  virtual void launch(const op::Copy&) = 0;
  /// `keep` holds the host memory until the transfer is done.
  virtual void launch(const op::Transfer&, std::shared_ptr<void> keep) = 0;
  virtual void launchHostCopy(const op::Copy&, bool upload, std::shared_ptr<void> keep) = 0;
  virtual void launch(const op::Add&) = 0;
  virtual void launch(const op::Scale&) = 0;
  virtual void launch(const op::Relu&) = 0;
  virtual void launch(const op::ReluBackward&) = 0;
  virtual void launch(const op::Sigmoid&) = 0;
  virtual void launch(const op::SigmoidBackward&) = 0;
  virtual void launch(const op::Advance&) = 0;
  virtual void launch(const op::Append&) = 0;
  virtual void launch(const op::Conv2d&) = 0;
  virtual void launch(const op::Conv2dBackwardData&) = 0;
  virtual void launch(const op::Conv2dBackwardWeights&) = 0;
  virtual void launch(const op::Linear&) = 0;
  virtual void launch(const op::LinearBackward&) = 0;
  virtual void launch(const op::AvgPool&) = 0;
  virtual void launch(const op::AvgPoolBackward&) = 0;
  virtual void launch(const op::GlobalAvgPool&) = 0;
  virtual void launch(const op::GlobalAvgPoolBackward&) = 0;
  virtual void launch(const op::PadChannels&) = 0;
  virtual void launch(const op::PadChannelsBackward&) = 0;
  virtual void launch(const op::PadBelief&) = 0;
  virtual void launch(const op::PadBeliefBackward&) = 0;
  virtual void launch(const op::Moments&) = 0;
  virtual void launch(const op::MomentsBackward&) = 0;
  virtual void launch(const op::AddMoments&) = 0;
  virtual void launch(const op::Normalize&) = 0;
  virtual void launch(const op::NormalizeBackward&) = 0;
  virtual void launch(const op::BatchNorm&) = 0;
  virtual void launch(const op::BatchNormBackward&) = 0;
  /// Throw InvalidArgument on devices without such a library.
  virtual void launch(const op::DnnBatchNorm&);
  virtual void launch(const op::DnnBatchNormBackward&);
  virtual void launch(const op::GroupNorm&) = 0;
  virtual void launch(const op::GroupNormBackward&) = 0;
  virtual void launch(const op::RunningUpdate&) = 0;
  virtual void launch(const op::KalmanUpdate&) = 0;
  virtual void launch(const op::KalmanUpdateBackward&) = 0;
  virtual void launch(const op::SamplePrior&) = 0;
  virtual void launch(const op::SamplePriorBackward&) = 0;
  virtual void launch(const op::Transition&) = 0;
  virtual void launch(const op::TransitionBackward&) = 0;
  virtual void launch(const op::SoftmaxCrossEntropy&) = 0;
  virtual void launch(const op::CheckFinite&) = 0;
  virtual void launch(const op::UpdateLossScale&) = 0;
  virtual void launch(const op::Sgd&) = 0;
  virtual void launch(const op::Gather&) = 0;

 protected:
  Device(std::shared_ptr<MemorySource> source, size_t memoryLimit);
  /// Memory of the pool, for `purpose` in the message of an OutOfMemory.
  std::shared_ptr<Storage> allocate(size_t bytes, const std::string& purpose);
  virtual void startRecording() {}
  /// A program of the launches kept since `beginRecording`; it owns the pool and the retained memory.
  virtual std::unique_ptr<Program> finishRecording(std::shared_ptr<Allocator> pool,
                                                   std::set<std::shared_ptr<Storage>> retained) = 0;
  virtual void discardRecording() = 0;
  /// `program` is one of this device's.
  virtual void enqueueReplay(Program& program, int64_t count) = 0;

 private:
  std::shared_ptr<MemorySource> source_;
  std::shared_ptr<Allocator> allocator_;
  std::shared_ptr<Allocator> recordingPool_;
  std::set<std::shared_ptr<Storage>> retained_;
};

}  // namespace kn
