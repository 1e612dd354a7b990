#include <algorithm>
#include <fstream>
#include <random>

#include "record.h"
#include "streams.h"
#include "workers.h"

namespace kn::emulation {

struct Step {
  std::function<void()> work;
  std::vector<size_t> after;
};
using Steps = std::vector<Step>;

namespace {

/// Steps that don't wait for each other run in another order each time; none on a device that has failed.
void runShuffled(const Steps& steps, unsigned seed, int device) {
  std::vector<std::vector<size_t>> next(steps.size());
  std::vector<size_t> open(steps.size()), ready;
  for (size_t i = 0; i < steps.size(); ++i) {
    open[i] = steps[i].after.size();
    for (const size_t before : steps[i].after) next[before].push_back(i);
    if (open[i] == 0) ready.push_back(i);
  }
  std::minstd_rand random(seed);
  while (!ready.empty()) {
    const size_t at = ready.size() == 1 ? 0 : random() % ready.size();
    const size_t i = ready[at];
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(at));
    if (deviceError(device) == cudaSuccess) steps[i].work();
    for (const size_t later : next[i])
      if (--open[later] == 0) ready.push_back(later);
  }
}

/// Whether `from` waits, by way of whatever else, for all of `nodes`.
bool reaches(const CUgraph_st& graph, const std::vector<size_t>& from, const std::vector<size_t>& nodes) {
  std::vector<bool> seen(graph.nodes.size());
  std::vector<size_t> open = from;
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    if (seen[node]) continue;
    seen[node] = true;
    const auto& after = graph.nodes[node]->after;
    open.insert(open.end(), after.begin(), after.end());
  }
  return std::all_of(nodes.begin(), nodes.end(), [&](size_t node) { return seen[node]; });
}

bool strict() {
  static const bool set = setting("KN_EMULATION_STRICT", 1) != 0;
  return set;
}

}  // namespace

std::atomic<int64_t> liveGraphs{0}, liveExecutables{0};

cudaError_t unsafeCall() {
  Registry& registry = Registry::instance();
  std::lock_guard lock(registry.mutex);
  cudaError_t result = cudaSuccess;
  for (const auto& stream : registry.streams) {
    if (!stream->capture) continue;
    Capture& capture = *stream->capture;
    const bool own = capture.thread == std::this_thread::get_id();
    const bool forThread = capture.mode == cudaStreamCaptureModeThreadLocal || strict();
    if (capture.mode == cudaStreamCaptureModeGlobal || (forThread && own)) {
      capture.lost = true;
      result = cudaErrorStreamCaptureUnsupported;
    }
  }
  return failed(result);
}

bool loseCaptures(int device) {
  Registry& registry = Registry::instance();
  std::lock_guard lock(registry.mutex);
  bool any = false;
  for (const auto& stream : registry.streams) {
    if (stream->device != device || !stream->capture) continue;
    stream->capture->lost = any = true;
  }
  return any;
}

}  // namespace kn::emulation

struct CUgraphExec_st {
  std::shared_ptr<const kn::emulation::Steps> steps;  ///< shared with the launches that have not run yet
  unsigned launches = 0;
};

using namespace kn::emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  if (const cudaError_t error = entered()) return error;
  if (!handle) return failed(cudaErrorStreamCaptureUnsupported);
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  if (stream->capture) return failed(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = handle;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  *graph = nullptr;
  if (const cudaError_t error = entered(); error && error != deviceError()) return error;
  Registry& registry = Registry::instance();
  const auto stream = registry.find(handle);
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  std::lock_guard lock(registry.mutex);
  const auto capture = stream->capture;
  if (!capture) return failed(cudaErrorIllegalState);
  if (capture->origin != handle) return failed(cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return failed(cudaErrorStreamCaptureWrongThread);
  const std::vector<size_t> end = stream->tail;
  bool joined = true;
  for (const auto& member : registry.streams) {
    if (member->capture != capture) continue;
    joined = joined && reaches(*capture->graph, end, member->tail);
    member->capture = nullptr;
    member->tail.clear();
  }
  if (capture->lost) return failed(cudaErrorStreamCaptureInvalidated);
  if (!joined) return failed(cudaErrorStreamCaptureUnjoined);
  *graph = capture->graph.release();
  ++liveGraphs;
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

/// A node a line; names and kinds alone of what the driver's would tell.
cudaError_t cudaGraphDebugDotPrint(cudaGraph_t graph, const char* path, unsigned) {
  if (const cudaError_t error = entered()) return error;
  std::ofstream file(path);
  file << "digraph {\n";
  for (size_t i = 0; i < graph->nodes.size(); ++i) {
    const CUgraphNode_st& node = *graph->nodes[i];
    const std::string name = node.name ? node.name() : node.kind == cudaGraphNodeTypeMemset ? "memset" : "memcpy";
    file << i << " [label=\"" << name << "\"];\n";
    for (const size_t before : node.after) file << before << " -> " << i << ";\n";
  }
  file << "}\n";
  return file.good() ? cudaSuccess : failed(cudaErrorOperatingSystem);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --liveGraphs;
  return left();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = entered()) return error;
  auto steps = std::make_shared<Steps>();
  for (const auto& node : graph->nodes) steps->push_back({node->work, node->after});
  *exec = new CUgraphExec_st{std::move(steps)};
  ++liveExecutables;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t error = entered()) return error;
  const unsigned seed = static_cast<unsigned>(setting("KN_EMULATION_SEED", 1)) + 7919 * exec->launches++;
  return enqueue(stream, cudaGraphNodeTypeGraph,
                 [steps = exec->steps, seed, device = currentDevice()] { runShuffled(*steps, seed, device); });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  --liveExecutables;
  return left();
}
