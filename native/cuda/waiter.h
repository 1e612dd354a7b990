#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "handles.h"

namespace kn::cuda {

/// A thread that waits for marks in the stream and then calls back, in order; so whoever enqueues work never waits.
class Waiter {
 public:
  /// `failure` is empty, or why the stream has failed.
  using Callback = std::function<void(const std::string& failure)>;

  explicit Waiter(int deviceIndex);
  /// Serves what has been asked for first.
  ~Waiter();
  Waiter(const Waiter&) = delete;

  /// Calls back when the stream has run what was enqueued so far.
  void after(cudaStream_t stream, Callback callback);
  /// Blocks until all callbacks have been called.
  void drain();

 private:
  struct Item {
    Event event;
    std::string failure;  ///< of the stream already, where no mark could be set
    Callback callback;
  };
  void loop(int deviceIndex);

  std::mutex mutex_;
  std::condition_variable changed_, idle_;
  std::deque<Item> queue_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace kn::cuda
