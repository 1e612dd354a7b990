#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../operations.h"
#include "allocator.h"
#include "executor.h"
#include "tensor.h"

namespace kn {

struct FloatBlock;
class Collective;
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
/// core/ops check arguments and allocate results; `launch` enqueues what is known to fit.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  virtual std::string description() const = 0;

  /// Throws OutOfMemory when there is no room after trimming the pool and `onShortage`.
  Tensor empty(const Shape& shape, DType dtype, Format format, int64_t virtualSamples = 0);
  /// For a result that may take the place of `tensor`, which nobody reads any more: that, or idle memory like it where
  /// writing there would have to wait for work that is beside it.
  Tensor overwritable(const Tensor& tensor);
  /// As a filter, in the type of activations.
  Tensor emptyRounded(const Tensor& filter);
  /// Gives a filter room for its rounded values, where activations are stored in fewer bits.
  void addRounded(const Tensor& filter);
  MemoryStats memoryStats() const { return allocator_->stats(); }
  void resetPeakMemory() { allocator_->resetPeak(); }
  virtual void trimMemory();
  /// `reclaim` is called where there is no room, on the thread that asks for it: it frees tensors that nobody can reach
  /// any more, and says whether there were any.
  void onShortage(std::function<bool()> reclaim) { reclaim_ = std::move(reclaim); }

  /// Runs `done` when everything enqueued so far has run or the device has failed, on a thread of the device.
  virtual void whenDone(std::function<void(const Failure& failure)> done) = 0;
  virtual void synchronize() = 0;
  /// Drops what has been enqueued and has not started, where the device can.
  virtual void cancel() {}
  /// Cancels for good: it runs nothing afterwards.
  virtual void abandon() {}
  /// Launches and replays that have been enqueued and, as far as is known, have not ended.
  virtual size_t queueDepth() = 0;
  /// Throws DeviceFailed, or GroupFailed, when an enqueued launch failed.
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
  /// Where the values of a tensor lie along its axes.
  virtual op::Axes axes(const Shape& shape, Format format) const = 0;
  /// How activations [N, C, H, W] are stored. Matrices, filters and statistics are always float32.
  virtual DType activationType() const { return DType::F32; }
  /// The format in which a convolution reads images of few channels best.
  virtual Format imageFormat() const { return Format::Plain; }

#define KN_LAUNCH(Op, name) virtual void launch(const op::Op&) = 0;
  KN_OPERATIONS(KN_LAUNCH)
#undef KN_LAUNCH
  /// `keep` holds the host memory until the transfer is done.
  virtual void launch(const op::Transfer&, std::shared_ptr<void> keep) = 0;
  virtual void launchHostCopy(const op::Copy&, bool upload, std::shared_ptr<void> keep) = 0;
  /// Rows of `count` values of all processes; this process's own is in its place. The stream waits for them.
  virtual void launchAllGather(float* rows, int64_t count, std::shared_ptr<Collective> group) = 0;

  /// Exchanges with other processes run beside the stream, one after the other: each begins when what was enqueued
  /// before it has run, and what is enqueued later doesn't wait for it before `joinExchanges`. Recorded steps keep
  /// them.
  ///
  /// Here all values become their sums or means over all processes, in one call of the collective.
  virtual void launchAllReduce(const std::vector<FloatBlock>& blocks, bool mean, std::shared_ptr<Collective> group) = 0;
  /// Has a library enqueue an exchange: `call` gets a CUDA stream, on the calling thread, whose current device it is.
  /// Throws InvalidArgument on a device without such a stream.
  virtual void launchForeign(const char* label, const std::function<void(void* stream)>& call);
  /// Keeps tensors that an exchange overwrites alive until it is joined; nothing else may use them.
  void exchanging(const std::vector<Tensor>& tensors);
  /// Whatever is enqueued from now on finds the results of all exchanges.
  void joinExchanges();

 protected:
  Device(std::shared_ptr<MemorySource> source, size_t memoryLimit);
  /// Memory of the pool, for `purpose` in the message of an OutOfMemory.
  std::shared_ptr<Storage> allocate(size_t bytes, const std::string& purpose);
  /// Whether it is within a tensor, or memory that a step being recorded uses.
  bool holds(const void* address) const {
    return allocator_->holds(address) || (recordingPool_ && recordingPool_->holds(address));
  }
  /// Whether what is written there next would have to wait for work that is beside it.
  virtual bool isContended(const void* /*data*/, size_t /*bytes*/) const { return false; }
  virtual void startRecording() {}
  /// The stream waits for all exchanges; there are some.
  virtual void enqueueJoin() = 0;
  /// What is handed out may be made to hold what nobody mistakes for a result.
  virtual void poison(void* /*data*/, size_t /*bytes*/) {}
  /// A program of the launches kept since `beginRecording`; it owns the pool and the retained memory.
  virtual std::unique_ptr<Program> finishRecording(std::shared_ptr<Allocator> pool,
                                                   std::set<std::shared_ptr<Storage>> retained) = 0;
  virtual void discardRecording() = 0;
  /// `program` is one of this device's.
  virtual void enqueueReplay(Program& program, int64_t count) = 0;

 private:
  std::shared_ptr<Allocator> allocator_;
  std::shared_ptr<Allocator> recordingPool_;
  std::set<std::shared_ptr<Storage>> retained_;
  std::vector<Tensor> exchanged_;  ///< of exchanges that aren't joined
  std::function<bool()> reclaim_;
};

}  // namespace kn
