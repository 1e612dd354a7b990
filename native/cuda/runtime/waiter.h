#pragma once
#include <functional>
#include <string>

#include "../../core/runtime/executor.h"
#include "handles.h"

namespace kn::cuda {

/// A thread that waits for marks in the stream and then calls back, in order; so whoever enqueues work never waits. Its
/// end serves what has been asked for first.
class Waiter {
 public:
  using Callback = std::function<void(const Failure& failure)>;

  explicit Waiter(int deviceIndex);

  /// Calls back when the stream has run what was enqueued so far.
  void after(cudaStream_t stream, Callback callback);
  /// Blocks until all callbacks have been called.
  void drain() { executor_.wait(); }

 private:
  Executor executor_;
};

}  // namespace kn::cuda
