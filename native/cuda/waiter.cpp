#include "waiter.h"

namespace kn::cuda {

Waiter::Waiter(int deviceIndex) : thread_([this, deviceIndex] { loop(deviceIndex); }) {}

Waiter::~Waiter() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Waiter::after(cudaStream_t stream, Callback callback) {
  Item item{{}, {}, std::move(callback)};
  try {
    item.event = recordEvent(stream);
  } catch (const Error& error) {
    item.failure = error.what();
  }
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(item));
  }
  changed_.notify_one();
}

void Waiter::drain() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

void Waiter::loop(int deviceIndex) {
  cudaSetDevice(deviceIndex);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    {
      Item item = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      if (item.failure.empty()) {
        const cudaError_t status = cudaEventSynchronize(item.event.get());
        if (status != cudaSuccess) item.failure = cudaGetErrorString(status);
      }
      item.callback(item.failure);
    }  // what the callback holds is freed outside the lock
    lock.lock();
    busy_ = false;
    if (queue_.empty()) idle_.notify_all();
  }
}

}  // namespace kn::cuda
