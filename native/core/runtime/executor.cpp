#include "executor.h"

#include <chrono>
#include <exception>

namespace kn {

Executor::Executor(std::function<void()> start) : thread_([this, start = std::move(start)] { loop(start); }) {}

Executor::~Executor() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Executor::submit(Task task) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({std::move(task), false});
    ++depth_;
  }
  changed_.notify_one();
}

void Executor::submitAlways(Task task) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({std::move(task), true});
  }
  changed_.notify_one();
}

void Executor::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

void Executor::cancel() {
  std::deque<Item> dropped;  // freed outside the lock, as the deleters of what they hold may come back here
  std::lock_guard lock(mutex_);
  interrupted_ = true;
  dropped.swap(queue_);
  for (Item& item : dropped) {
    if (item.always) {
      queue_.push_back(std::move(item));
    } else {
      --depth_;
    }
  }
}

void Executor::abandon() {
  cancel();
  std::lock_guard lock(mutex_);
  abandoned_ = true;
  interrupted_ = true;
  if (!failure_) failure_.reason = "abandoned";
}

size_t Executor::depth() const {
  std::lock_guard lock(mutex_);
  return depth_;
}

void Executor::execute(const Task& task) {
  if (!profiling_ || task.composite) {
    task.run();
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  task.run();
  const auto end = std::chrono::steady_clock::now();
  std::lock_guard lock(mutex_);
  ProfileEntry& entry = profile_[task.name];
  ++entry.calls;
  entry.nanoseconds += std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count();
}

Failure Executor::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void Executor::setProfiling(bool on) {
  wait();
  std::lock_guard lock(mutex_);
  profiling_ = on;
  profile_.clear();
}

std::map<std::string, ProfileEntry> Executor::profile() const {
  std::lock_guard lock(mutex_);
  return profile_;
}

void Executor::loop(const std::function<void()>& start) {
  start();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Item item = std::move(queue_.front());
    queue_.pop_front();
    interrupted_ = abandoned_;
    if (!failure_ || item.always) {
      busy_ = true;
      lock.unlock();
      Failure failure;
      try {
        execute(item.task);
      } catch (const std::exception& error) {
        const auto* known = dynamic_cast<const Error*>(&error);
        if (known && known->code == ErrorCode::GroupFailed) failure.code = known->code;
        failure.reason = std::string(item.task.name) + ": " + error.what();
      }
      item.task.run = nullptr;
      lock.lock();
      busy_ = false;
      if (!failure_) failure_ = failure;
    } else {
      // What a dropped task holds is freed outside the lock, as its deleters may come back here.
      lock.unlock();
      item.task.run = nullptr;
      lock.lock();
    }
    if (!item.always) --depth_;
    if (queue_.empty()) idle_.notify_all();
  }
}

}  // namespace kn
