#include "workers.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace kn::emulation {
namespace {

/// A loop that threads share; whoever comes late finds nothing left.
struct Loop {
  int64_t count;
  const std::function<void(int64_t)>* body;  ///< lives as long as the loop has turns left or is being worked on
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};

  void work() {
    for (int64_t i; (i = next.fetch_add(1)) < count;) {
      (*body)(i);
      if (done.fetch_add(1) + 1 == count) done.notify_all();
    }
  }
};

class Workers {
 public:
  explicit Workers(int64_t threads) {
    for (int64_t i = 1; i < threads; ++i) std::thread([this] { loop(); }).detach();
  }

  void run(const std::shared_ptr<Loop>& work) {
    {
      std::lock_guard lock(mutex_);
      current_ = work;
      ++generation_;
    }
    changed_.notify_all();
    work->work();
    for (int64_t done; (done = work->done.load()) < work->count;) work->done.wait(done);
  }

 private:
  void loop() {
    for (uint64_t seen = 0;;) {
      std::shared_ptr<Loop> work;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        work = current_;
      }
      work->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Loop> current_;
  uint64_t generation_ = 0;
};

}  // namespace

int64_t setting(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoll(text, nullptr, 0) : otherwise;
}

void parallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  static const int64_t threads = setting("KN_EMULATION_THREADS", 2);
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  // Never destroyed: its threads live until the process ends.
  static Workers& workers = *new Workers(threads);
  auto work = std::make_shared<Loop>();
  work->count = count;
  work->body = &body;
  workers.run(work);
}

}  // namespace kn::emulation
