#include "streams.h"

namespace kn::emulation {

void Completion::complete() {
  {
    std::lock_guard lock(mutex);
    done = true;
    time = std::chrono::steady_clock::now();
  }
  changed.notify_all();
}

void Completion::wait() {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return done; });
}

bool Completion::isDone() {
  std::lock_guard lock(mutex);
  return done;
}

namespace {

/// The event's last record, in `completion`; null if it has none.
cudaError_t lastRecord(cudaEvent_t handle, std::shared_ptr<Completion>& completion) {
  const auto event = Registry::instance().find(handle);
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(Registry::instance().mutex);
  if (event->captured) {
    event->captured->lost = true;
    return failed(cudaErrorCapturedEvent);
  }
  completion = event->last;
  return cudaSuccess;
}

}  // namespace
}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (const cudaError_t error = entered()) return error;
  if (flags & ~unsigned{cudaEventBlockingSync | cudaEventDisableTiming}) return failed(cudaErrorInvalidValue);
  const auto created = std::make_shared<CUevent_st>();
  created->device = currentDevice();
  created->timing = !(flags & cudaEventDisableTiming);
  Registry& registry = Registry::instance();
  std::lock_guard lock(registry.mutex);
  registry.events.push_back(created);
  *event = created.get();
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  Registry& registry = Registry::instance();
  const auto event = registry.find(handle);
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  std::erase(registry.events, event);
  return left();
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t streamHandle) {
  if (const cudaError_t error = entered()) return error;
  Registry& registry = Registry::instance();
  const auto event = registry.find(handle);
  const auto stream = registry.find(streamHandle);
  if (!event || !stream || event->device != stream->device) return failed(cudaErrorInvalidResourceHandle);
  if (!streamHandle && loseCaptures(stream->device)) return failed(cudaErrorStreamCaptureImplicit);
  auto completion = std::make_shared<Completion>();
  {
    std::lock_guard lock(registry.mutex);
    event->captured = stream->capture;
    event->tail = stream->tail;
    if (event->captured) return cudaSuccess;
    event->last = completion;
  }
  stream->append([completion] { completion->complete(); }, true);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  if (const cudaError_t error = entered()) return error;
  std::shared_ptr<Completion> completion;
  if (const cudaError_t error = lastRecord(handle, completion)) return error;
  if (const cudaError_t error = unsafeCall()) return error;
  if (completion) completion->wait();
  return failed(deviceError());
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  if (const cudaError_t error = entered()) return error;
  std::shared_ptr<Completion> completion;
  if (const cudaError_t error = lastRecord(handle, completion)) return error;
  if (const cudaError_t error = unsafeCall()) return error;
  if (completion && !completion->isDone()) return cudaErrorNotReady;
  return failed(deviceError());
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  if (const cudaError_t error = entered()) return error;
  std::shared_ptr<Completion> start, end;
  if (const cudaError_t error = lastRecord(from, start)) return error;
  if (const cudaError_t error = lastRecord(to, end)) return error;
  if (!start || !end || !from->timing || !to->timing) return failed(cudaErrorInvalidResourceHandle);
  if (!start->isDone() || !end->isDone()) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t streamHandle, cudaEvent_t handle, unsigned) {
  if (const cudaError_t error = entered()) return error;
  Registry& registry = Registry::instance();
  const auto event = registry.find(handle);
  const auto stream = registry.find(streamHandle);
  if (!event || !stream) return failed(cudaErrorInvalidResourceHandle);
  if (!streamHandle && loseCaptures(stream->device)) return failed(cudaErrorStreamCaptureImplicit);
  std::shared_ptr<Completion> completion;
  {
    std::lock_guard lock(registry.mutex);
    if (event->captured) {
      // The stream becomes a part of the capture.
      if (stream->capture && stream->capture != event->captured) {
        stream->capture->lost = event->captured->lost = true;
        return failed(cudaErrorStreamCaptureMerge);
      }
      if (!event->captured->graph) return failed(cudaErrorCapturedEvent);
      stream->capture = event->captured;
      stream->tail.insert(stream->tail.end(), event->tail.begin(), event->tail.end());
      return cudaSuccess;
    }
    if (stream->capture) {
      stream->capture->lost = true;
      return failed(cudaErrorStreamCaptureIsolation);
    }
    completion = event->last;
  }
  if (completion) stream->append([completion] { completion->wait(); }, true);
  return cudaSuccess;
}
