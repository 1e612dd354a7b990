#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "error.h"

namespace kn {

/// A unit of enqueued work; `name` (a literal) labels it in profiles and error messages.
struct Task {
  const char* name;
  std::function<void()> run;
  bool composite = false;  ///< consists of tasks that are profiled one by one
};

struct ProfileEntry {
  uint64_t calls = 0;
  uint64_t nanoseconds = 0;
};

/// One thread that runs tasks in the order of their submission. The first task that throws poisons the executor: later
/// tasks are dropped, and `failure` tells why.
class Executor {
 public:
  /// `start` runs first on the new thread.
  explicit Executor(std::function<void()> start);
  ~Executor();
  Executor(const Executor&) = delete;

  void submit(Task task);
  /// Runs even when the executor has failed; for promises that must settle.
  void submitAlways(Task task);
  /// Blocks until everything submitted so far has run.
  void wait();
  /// Drops what has not started; a task that consists of tasks ends when it sees that it is interrupted.
  void cancel();
  /// Cancels, and drops whatever is submitted from now on.
  void abandon();
  bool interrupted() const { return interrupted_.load(std::memory_order_relaxed); }
  /// Tasks that are submitted and have not ended, without those that always run.
  size_t depth() const;
  /// Runs one task now; only for tasks that themselves consist of tasks, on the executor's own thread.
  void execute(const Task& task);
  Failure failure() const;

  void setProfiling(bool on);
  std::map<std::string, ProfileEntry> profile() const;

 private:
  struct Item {
    Task task;
    bool always;
  };
  void loop(const std::function<void()>& start);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable idle_;
  std::deque<Item> queue_;
  bool busy_ = false;
  bool stop_ = false;
  bool profiling_ = false;
  size_t depth_ = 0;
  bool abandoned_ = false;
  std::atomic<bool> interrupted_ = false;
  Failure failure_;
  std::map<std::string, ProfileEntry> profile_;
  std::thread thread_;
};

}  // namespace kn
