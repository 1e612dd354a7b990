#include "dnn_graph.h"

#include <algorithm>
#include <string_view>

namespace kn::cuda::dnn {

void check(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char detail[1024] = "";
  cudnnGetLastErrorString(detail, sizeof(detail));
  const bool memory = status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
                      status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  require(false, memory ? ErrorCode::OutOfMemory : ErrorCode::DeviceFailed, call, ": ", cudnnGetErrorString(status),
          *detail ? ": " : "", detail);
}

std::string versionText(size_t version) {
  const size_t thousand = version >= 90000 ? 10000 : 1000;
  return std::to_string(version / thousand) + "." + std::to_string(version % thousand / 100) + "." +
         std::to_string(version % 100);
}

void requireVersion(size_t version) {
  require(version >= 90000, ErrorCode::DeviceUnavailable, "cuDNN ", versionText(version),
          " is too old: version 9 or newer is needed");
}

// --- descriptors ----------------------------------------------------------------------------------------------------

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                            const void* data) {
  check(cudnnBackendSetAttribute(descriptor_, name, type, count, data), "cudnnBackendSetAttribute");
  return *this;
}

Descriptor& Descriptor::set(cudnnBackendAttributeName_t name, std::span<const int64_t> values) {
  return set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
}

Descriptor& Descriptor::finalize() {
  check(cudnnBackendFinalize(descriptor_), "cudnnBackendFinalize");
  return *this;
}

int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                        void* data) const {
  int64_t found = 0;
  check(cudnnBackendGetAttribute(descriptor_, name, type, count, &found, data), "cudnnBackendGetAttribute");
  return std::min(found, count);
}

int64_t Descriptor::getInt(cudnnBackendAttributeName_t name) const {
  int64_t value = 0;
  get(name, CUDNN_TYPE_INT64, 1, &value);
  return value;
}

Descriptor deviceProperties([[maybe_unused]] const std::string& json) {
#if CUDNN_VERSION >= 90800
  Descriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, static_cast<int64_t>(json.size()),
                 json.data());
  properties.finalize();
  return properties;
#else
  throw Error(ErrorCode::DeviceUnavailable, "plans without a device need cuDNN 9.8 or newer to build with");
#endif
}

// --- plans ----------------------------------------------------------------------------------------------------------

namespace {

/// Why there is no plan: cuDNN's reasons, each once, without those that only pass on another.
class Reasons {
 public:
  void add(const std::string& reason) {
    if (std::find(texts_.begin(), texts_.end(), reason) == texts_.end()) texts_.push_back(reason);
  }

  void addCuDnn(const std::string& report) {
    static constexpr std::string_view kMark = "Reason: ";
    for (size_t at = 0; (at = report.find(kMark, at)) != std::string::npos;) {
      at += kMark.size();
      const std::string reason = report.substr(at, report.find('\n', at) - at);
      const bool passedOn = reason.ends_with("()") || reason.ends_with("status") || reason.find("_STATUS_") != npos ||
                            reason.find("match_pattern") != npos || reason.find("(node") != npos;
      if (!passedOn) add(reason);
    }
  }

  std::string text() const {
    std::string text;
    for (size_t i = 0; i < std::min<size_t>(texts_.size(), 8); ++i) text += (i ? "; " : "") + texts_[i];
    return texts_.empty() ? "no reason given" : text;
  }

 private:
  static constexpr size_t npos = std::string::npos;
  std::vector<std::string> texts_;
};

std::string lastReport() {
  std::string report(1 << 14, '\0');
  cudnnGetLastErrorString(report.data(), report.size());
  return report.c_str();
}

/// What a heuristic proposes, the best first. For a graph that isn't supported that is nothing, not a failure.
std::vector<Descriptor> configurations(const Descriptor& graph, const Target& target, cudnnBackendHeurMode_t mode,
                                       Reasons& reasons) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
#if CUDNN_VERSION >= 90800
  if (target.properties) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.properties);
#endif
  // The first call gives an upper bound, the second those that can be had.
  const auto results = [&](int64_t room, cudnnBackendDescriptor_t* into) {
    int64_t found = 0;
    cudnnBackendGetAttribute(heuristic.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, room,
                             &found, into);
    return found;
  };
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  if (cudnnBackendFinalize(heuristic.handle()) == CUDNN_STATUS_SUCCESS) {
    for (int64_t i = results(0, nullptr); i > 0; --i) {
      handles.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).handle());
    }
  }
  if (!handles.empty()) configs.resize(results(static_cast<int64_t>(handles.size()), handles.data()));
  if (configs.empty()) reasons.addCuDnn(lastReport());
  return configs;
}

Descriptor engineOf(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.handle();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
  return engine;
}

/// Why the rules forbid an engine, or null.
const char* objectionTo(const Descriptor& config, const Rules& rules) {
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = {};
  const int64_t count = engineOf(config).get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                             CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
  for (int64_t i = 0; i < count; ++i) {
    switch (notes[i]) {
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION: return "left out: engines that sum in less than float32";
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
        if (rules.deterministic) return "left out: engines that are not deterministic";
        break;
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        if (!rules.tensorCores) return "left out: engines that round float32";
        break;
      // The one tile of Winograd's that costs several digits.
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: return "left out: imprecise engines";
      default: break;
    }
  }
  return nullptr;
}

}  // namespace

Plan::Plan(const Target& target, Descriptor config)
    : config_(std::move(config)), plan_(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
  if (target.handle) plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config_).finalize();
  workspaceBytes_ = static_cast<size_t>(plan_.getInt(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
  engine_ = engineOf(config_).getInt(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
}

void Plan::execute(cudnnHandle_t handle, std::span<const Binding> bindings, void* workspace) const {
  std::vector<int64_t> ids;
  std::vector<void*> data;
  for (const Binding& binding : bindings) {
    ids.push_back(binding.id);
    data.push_back(binding.data);
  }
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<int64_t>(data.size()), data.data())
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)
      .finalize();
  check(cudnnBackendExecute(handle, plan_.handle(), pack.handle()), "cudnnBackendExecute");
}

// --- graphs ---------------------------------------------------------------------------------------------------------

Descriptor& Graph::newTensor(int64_t id, cudnnDataType_t type, const Sizes& sizes, int64_t alignment) {
  const auto [n, c, h, w] = sizes;
  const Sizes strides = {h * w * c, 1, w * c, c};
  return keep(CUDNN_BACKEND_TENSOR_DESCRIPTOR)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes)
      .set(CUDNN_ATTR_TENSOR_STRIDES, strides)
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
}

const Descriptor& Graph::tensor(int64_t id, cudnnDataType_t type, const Sizes& sizes, int64_t alignment) {
  return newTensor(id, type, sizes, alignment).finalize();
}

const Descriptor& Graph::value(int64_t id) {
  return newTensor(id, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, sizeof(float))
      .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true)
      .finalize();
}

void Graph::add(Descriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

Descriptor Graph::finish(const Target& target) const {
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const auto& operation : operations_) operations.push_back(operation.handle());
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(operations.size()),
            operations.data());
  if (target.handle) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  graph.finalize();
  return graph;
}

std::vector<Plan> Graph::plans(const Target& target, const Rules& rules, size_t limit, size_t first) const {
  const Descriptor graph = finish(target);
  std::vector<Plan> plans;
  size_t rank = 0;
  Reasons reasons;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    if (!plans.empty()) break;
    for (Descriptor& config : configurations(graph, target, mode, reasons)) {
      if (plans.size() == limit) break;
      if (const char* objection = objectionTo(config, rules)) {
        reasons.add(objection);
        continue;
      }
      // An engine may find out only now that it can't.
      try {
        Plan plan(target, std::move(config));
        if (rank++ >= first) plans.push_back(std::move(plan));
      } catch (const Error& error) {
        reasons.addCuDnn(error.what());
      }
    }
  }
  require(!plans.empty(), ErrorCode::DeviceUnavailable, "cuDNN ", versionText(cudnnGetVersion()),
          " offers no engine for ", name_, ": ", reasons.text());
  return plans;
}

}  // namespace kn::cuda::dnn
