#include "waiter.h"

#include <memory>

namespace kn::cuda {

Waiter::Waiter(int deviceIndex) : executor_([deviceIndex] { cudaSetDevice(deviceIndex); }) {}

void Waiter::after(cudaStream_t stream, Callback callback) {
  std::shared_ptr<Event> event;  // shared, because a task is copyable
  std::string failure;           // of the stream already, where no mark could be set
  try {
    event = std::make_shared<Event>(recordEvent(stream));
  } catch (const Error& error) {
    failure = error.what();
  }
  executor_.submitAlways({"wait", [event = std::move(event), failure, callback = std::move(callback)]() mutable {
                            if (event) {
                              const cudaError_t status = cudaEventSynchronize(event->get());
                              if (status != cudaSuccess) failure = cudaGetErrorString(status);
                            }
                            callback(failure);
                          }});
}

}  // namespace kn::cuda
