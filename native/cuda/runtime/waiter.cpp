#include "waiter.h"

#include <memory>

namespace kn::cuda {

Waiter::Waiter(int deviceIndex) : executor_([deviceIndex] { succeeded(cudaSetDevice(deviceIndex)); }) {}

void Waiter::after(cudaStream_t stream, Callback callback) {
  std::shared_ptr<Event> event;  // shared, because a task is copyable
  try {
    event = std::make_shared<Event>(recordEvent(stream));
  } catch (const Error&) {
    // Without a mark it waits for the whole stream: longer than it need, but whoever asked is called.
  }
  executor_.submitAlways(
      {"wait", [event = std::move(event), stream, callback = std::move(callback)]() mutable {
         const cudaError_t status =
             waitFor([&] { return event ? cudaEventSynchronize(event->get()) : cudaStreamSynchronize(stream); });
         event = nullptr;
         callback({ErrorCode::DeviceFailed, status == cudaSuccess ? "" : cudaGetErrorString(status)});
       }});
}

}  // namespace kn::cuda
