#pragma once
#include <utility>

#include "check.h"

/// Owners of what the CUDA runtime hands out.
namespace kn::cuda {

template <class Handle, cudaError_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_) succeeded(destroy(handle_));
  }
  Handle get() const { return handle_; }
  Handle* out() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using DeviceBlock = Owned<void*, cudaFree>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

inline Stream makeStream() {
  Stream stream;
  KN_CUDA_CHECK(cudaStreamCreateWithFlags(stream.out(), cudaStreamNonBlocking));
  return stream;
}

/// The outcome of a wait. What work has failed with stays, whatever is called; another error was the call's own.
template <class Wait>
cudaError_t waitFor(const Wait& wait) {
  cudaError_t status = wait();
  if (!succeeded(status)) succeeded(status = wait());
  return status;
}

/// A mark in the stream. Waiting for it sleeps, so that it costs no core.
inline Event recordEvent(cudaStream_t stream, unsigned flags = cudaEventDisableTiming | cudaEventBlockingSync) {
  Event event;
  KN_CUDA_CHECK(cudaEventCreateWithFlags(event.out(), flags));
  KN_CUDA_CHECK(cudaEventRecord(event.get(), stream));
  return event;
}

/// What is enqueued in one stream from now on waits for what is in the other.
inline void order(cudaStream_t first, cudaStream_t then) {
  const Event reached = recordEvent(first);
  KN_CUDA_CHECK(cudaStreamWaitEvent(then, reached.get(), 0));
}

}  // namespace kn::cuda
