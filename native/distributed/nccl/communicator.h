#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../core/runtime/device.h"
#include "api.h"

namespace kn::nccl {

/// Which process of how many.
struct Place {
  int rank, size;
};

/// One process's end of a group of devices. Collectives are exchanges of the device (Device::joinExchanges), all in one
/// stream, so that their order is that of the calls; a step that is being recorded keeps them. NCCL never makes the
/// caller wait for others, except, at a collective's first use, until the time-out.
///
/// Failures of NCCL throw DeviceFailed; the group is of no use afterwards and has to be aborted, which lets go what
/// waits on the stream for others.
class Communicator {
 public:
  Communicator(std::shared_ptr<Device> device, const Api& api, const UniqueId& id, Place place,
               std::chrono::milliseconds timeout);
  ~Communicator() { close(); }
  Communicator(const Communicator&) = delete;

  /// Whether all have come; throws what has happened since.
  bool ready() const;

  /// Begins to overwrite float32 tensors with their sums or means over all processes, in one launch; the others join.
  void startAllReduce(const std::vector<Tensor>& tensors, bool mean);
  /// Overwrites a float32 tensor with that of one process.
  void broadcast(const Tensor& tensor, int root);
  /// uint8: `to` has room for the bytes of all processes, by rank.
  void allGather(const Tensor& from, const Tensor& to);

  /// Frees it once its work is done, and `abort` at once; neither waits. No call may follow but these.
  void close();
  void abort();
  /// The same, back when it is done.
  void abortNow();

 private:
  void enqueue(const char* name, const std::function<Result(void* stream)>& call);
  void settle(Result result) const;
  [[noreturn]] void fail(Result result) const;
  Result state() const;

  const std::shared_ptr<Device> device_;
  const Api& api_;
  const Place place_;
  const std::chrono::milliseconds timeout_;
  Comm comm_ = nullptr;
};

}  // namespace kn::nccl
