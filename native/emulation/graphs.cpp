#include "record.h"
#include "streams.h"

struct CUgraphExec_st {
  /// Shared with the launches that have not run yet.
  std::shared_ptr<const std::vector<std::function<void()>>> steps;
};

namespace kn::emulation {

cudaError_t unsafeCall() {
  Registry& registry = Registry::instance();
  std::lock_guard lock(registry.mutex);
  cudaError_t result = cudaSuccess;
  for (const auto& stream : registry.streams) {
    if (!stream->capture) continue;
    const auto& capture = *stream->capture;
    const bool own = capture.thread == std::this_thread::get_id();
    if (capture.mode == cudaStreamCaptureModeGlobal || (capture.mode == cudaStreamCaptureModeThreadLocal && own)) {
      stream->capture->lost = true;
      result = cudaErrorStreamCaptureUnsupported;
    }
  }
  return failed(result);
}

}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  if (const cudaError_t error = entered()) return error;
  if (!handle) return failed(cudaErrorStreamCaptureUnsupported);
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  if (stream->capture) return failed(cudaErrorIllegalState);
  stream->capture = std::make_unique<CUstream_st::Capture>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  if (insideHostFunction()) return failed(cudaErrorNotPermitted);
  *graph = nullptr;
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  if (!stream->capture) return failed(cudaErrorIllegalState);
  if (stream->capture->mode != cudaStreamCaptureModeRelaxed && stream->capture->thread != std::this_thread::get_id())
    return failed(cudaErrorStreamCaptureWrongThread);
  const auto capture = std::move(stream->capture);
  if (capture->lost) return failed(cudaErrorStreamCaptureInvalidated);
  *graph = capture->graph.release();
  return failed(deviceError());
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  if (const cudaError_t error = entered()) return error;
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  *status = !stream->capture        ? cudaStreamCaptureStatusNone
            : stream->capture->lost ? cudaStreamCaptureStatusInvalidated
                                    : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (const cudaError_t error = entered()) return error;
  const size_t room = nodes ? *count : 0;
  for (size_t i = 0; i < room; ++i) nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
  *count = nodes && room < graph->nodes.size() ? room : graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->kind;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return failed(deviceError());
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = entered()) return error;
  auto steps = std::make_shared<std::vector<std::function<void()>>>();
  for (const auto& node : graph->nodes) steps->push_back(node->work);
  *exec = new CUgraphExec_st{std::move(steps)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return enqueue(stream, cudaGraphNodeTypeGraph, [steps = exec->steps] {
    for (const auto& step : *steps)
      if (deviceError() == cudaSuccess) step();
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return failed(deviceError());
}
