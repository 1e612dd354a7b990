#include "streams.h"

#include <algorithm>

#include "record.h"
#include "workers.h"

namespace kn::emulation {
namespace {

template <class T>
std::shared_ptr<T> findIn(const std::vector<std::shared_ptr<T>>& all, const T* handle) {
  for (const auto& one : all)
    if (one.get() == handle) return one;
  return nullptr;
}

}  // namespace

Registry& Registry::instance() {
  static Registry& registry = *new Registry;  // never destroyed: streams may still run when the process ends
  return registry;
}

std::shared_ptr<CUstream_st> Registry::find(cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (stream) return findIn(streams, stream);
  auto& found = standard[currentDevice()];
  if (!found) found = std::make_shared<CUstream_st>(currentDevice());
  return found;
}

std::shared_ptr<CUevent_st> Registry::find(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  return findIn(events, event);
}

std::vector<std::shared_ptr<CUstream_st>> Registry::all() {
  std::lock_guard lock(mutex);
  auto result = streams;
  for (const auto& [device, stream] : standard) result.push_back(stream);
  return result;
}

void waitForAll() {
  for (const auto& stream : Registry::instance().all()) stream->wait();
}

cudaError_t enqueue(cudaStream_t handle, cudaGraphNodeType kind, std::function<void()> work,
                    std::function<std::string()> name) {
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream || stream->device != currentDevice()) return failed(cudaErrorInvalidResourceHandle);
  // The legacy stream waits for the others, and they for it.
  if (!handle && loseCaptures(stream->device)) return failed(cudaErrorStreamCaptureImplicit);
  {
    std::lock_guard lock(registry.mutex);
    if (stream->capture) {
      if (stream->capture->lost) return failed(cudaErrorStreamCaptureInvalidated);
      auto& nodes = stream->capture->graph->nodes;
      nodes.push_back(
          std::make_unique<CUgraphNode_st>(kind, std::move(work), std::move(stream->tail), std::move(name)));
      stream->tail = {nodes.size() - 1};
      return cudaSuccess;
    }
  }
  // Where steps are only counted, one by itself needn't take its time to have its memory at hand.
  if (kind != cudaGraphNodeTypeHost && setting("KN_EMULATION_IDLE", 0)) return cudaSuccess;
  stream->append([work = std::move(work)] { exclusively(work); }, false);
  return cudaSuccess;
}

}  // namespace kn::emulation

using namespace kn::emulation;

CUstream_st::CUstream_st(int device) : device(device), thread_([this] { loop(); }) {}

CUstream_st::~CUstream_st() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CUstream_st::append(std::function<void()> work, bool always) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({std::move(work), always});
  }
  changed_.notify_one();
}

void CUstream_st::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool CUstream_st::idle() {
  std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

void CUstream_st::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    {
      const Work work = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      if (work.always || deviceError(device) == cudaSuccess) work.run();
    }
    lock.lock();
    busy_ = false;
    if (queue_.empty()) idle_.notify_all();
  }
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (const cudaError_t error = entered()) return error;
  // The others wait for the null stream and it for them, which this runtime leaves out.
  if (flags != cudaStreamNonBlocking) return failed(cudaErrorNotSupported);
  const auto created = std::make_shared<CUstream_st>(currentDevice());
  Registry& registry = Registry::instance();
  std::lock_guard lock(registry.mutex);
  registry.streams.push_back(created);
  *stream = created.get();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream || !handle) return failed(cudaErrorInvalidResourceHandle);
  {
    std::lock_guard lock(registry.mutex);
    if (stream->capture) stream->capture->lost = true;
    std::erase(registry.streams, stream);
  }
  stream->wait();
  return left();
}

/// Whether the stream is being captured; a question about its end ends the capture.
static bool loseCapture(CUstream_st& stream) {
  std::lock_guard lock(Registry::instance().mutex);
  if (stream.capture) stream.capture->lost = true;
  return stream.capture != nullptr;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  if (const cudaError_t error = entered()) return error;
  const auto stream = Registry::instance().find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  if (!handle && loseCaptures(stream->device)) return failed(cudaErrorStreamCaptureImplicit);
  if (loseCapture(*stream)) return failed(cudaErrorStreamCaptureUnsupported);
  stream->wait();
  return failed(deviceError());
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  if (const cudaError_t error = entered()) return error;
  const auto stream = Registry::instance().find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  if (!handle && loseCaptures(stream->device)) return failed(cudaErrorStreamCaptureImplicit);
  if (loseCapture(*stream)) return failed(cudaErrorStreamCaptureUnsupported);
  if (!stream->idle()) return cudaErrorNotReady;
  return failed(deviceError());
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (const cudaError_t error = entered()) return error;
  if (!function) return failed(cudaErrorInvalidValue);
  return enqueue(stream, cudaGraphNodeTypeHost, [=] {
    const HostFunction inside;
    function(data);
  });
}
