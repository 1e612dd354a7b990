/// cuDNN, played: the functions that native/cuda/nvidia calls. Every attribute is checked, and the emulation's loops
/// compute. Of its engines some are there to be left out or to fail, as real ones do:
///
///   1  rounds float32 products          4  says no when its plan is made
///   2  isn't deterministic              5  one that works, with a workspace
///   3  sums in less than float32        6  the fallback, which works without one
///
/// KN_EMULATION_FAIL_ENGINE=N lets engine N fail whenever it runs.
#include <cudnn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../device_memory.h"
#include "../failures.h"
#include "../runtime.h"
#include "../workers.h"
#include "operations.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace kn::emulation::dnn {
namespace {

constexpr int64_t kProposed[] = {1, 2, 3, 4, 5}, kFallback[] = {6};
constexpr int64_t kRefusing = 4, kWithWorkspace = 5;
constexpr int64_t kWorkspaceBytes = 4096;

thread_local std::string lastReason;

/// Runs the body of a function of the library.
template <class Body>
cudnnStatus_t guarded(const Body& body) {
  try {
    body();
    return CUDNN_STATUS_SUCCESS;
  } catch (const Refusal& refusal) {
    lastReason = std::string("Reason: ") + refusal.what() + "\n";
    return refusal.status;
  }
}

/// A call of the CUDA runtime that the library makes.
void demandCuda(cudaError_t status) {
  demand(status == cudaSuccess, cudaGetErrorString(status),
         status == cudaErrorMemoryAllocation ? CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
                                             : CUDNN_STATUS_EXECUTION_FAILED);
}

const Descriptor& graphOf(const Descriptor& heuristic) {
  return partOf(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
}

Operation operationIn(const Descriptor& graph) { return operationOf(partOf(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)); }

std::vector<int64_t> enginesFor(const Descriptor& heuristic) {
  if (!operationIn(graphOf(heuristic)).supported) return {};
  const bool fallback =
      valueOf<cudnnBackendHeurMode_t>(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
  return fallback ? std::vector<int64_t>(std::begin(kFallback), std::end(kFallback))
                  : std::vector<int64_t>(std::begin(kProposed), std::end(kProposed));
}

void finalize(Descriptor& descriptor) {
  demand(!descriptor.finalized, "finalized twice");
  requireComplete(descriptor);
  switch (descriptor.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: TensorOf{descriptor}; break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: operationIn(descriptor); break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      demand(!enginesFor(descriptor).empty(), "no engine has this graph", CUDNN_STATUS_NOT_SUPPORTED);
      break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: {
      // Its code is loaded now.
      demandCuda(entered("cudnnBackendFinalize"));
      demandCuda(unsafeCall());
      const Descriptor& config =
          partOf(descriptor, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      demand(config.engine != kRefusing, "this engine finds out late that it can't", CUDNN_STATUS_NOT_SUPPORTED);
      descriptor.engine = config.engine;
      break;
    }
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      demand(descriptor.attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).count ==
                 descriptor.attributes.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count,
             "not as many pointers as ids");
      break;
    default:
      // Operations: all that they are made of.
      if (descriptor.type != CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR) operationOf(descriptor);
  }
  descriptor.finalized = true;
}

cudnnBackendNumericalNote_t noteOf(int64_t engine) {
  return engine == 1   ? CUDNN_NUMERICAL_NOTE_TENSOR_CORE
         : engine == 2 ? CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC
                       : CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
}

/// The configurations, into descriptors that the caller has made, or their number.
int64_t proposals(const Descriptor& heuristic, int64_t room, void* into) {
  const std::vector<int64_t> engines = enginesFor(heuristic);
  if (room == 0) return static_cast<int64_t>(engines.size());
  const int64_t count = std::min(room, static_cast<int64_t>(engines.size()));
  for (int64_t i = 0; i < count; ++i) {
    Descriptor& config = descriptorOf(static_cast<cudnnBackendDescriptor_t*>(into)[i]);
    demand(config.type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "no configuration to write to");
    config.engine = engines[static_cast<size_t>(i)];
    // As much as is needed of the graph: the plan has to know it.
    config.attributes[CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH] =
        heuristic.attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    config.finalized = true;
  }
  return count;
}

int64_t get(const Descriptor& descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
            int64_t room, void* into) {
  demand(descriptor.finalized, "asked before it was finalized", CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
      demand(type == CUDNN_TYPE_BACKEND_DESCRIPTOR, "configurations are descriptors");
      return proposals(descriptor, room, into);
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
      demand(type == CUDNN_TYPE_BACKEND_DESCRIPTOR && room == 1, "an engine is a descriptor");
      Descriptor& engine = descriptorOf(*static_cast<cudnnBackendDescriptor_t*>(into));
      demand(engine.type == CUDNN_BACKEND_ENGINE_DESCRIPTOR, "no engine to write to");
      engine.engine = descriptor.engine;
      engine.finalized = true;
      return 1;
    }
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      demand(type == CUDNN_TYPE_NUMERICAL_NOTE && room > 0, "a note has a type of its own");
      if (descriptor.engine > 3) return 0;
      *static_cast<cudnnBackendNumericalNote_t*>(into) = noteOf(descriptor.engine);
      return 1;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
      demand(type == CUDNN_TYPE_INT64 && room == 1, "an index is an int64");
      *static_cast<int64_t*>(into) = descriptor.engine;
      return 1;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      demand(type == CUDNN_TYPE_INT64 && room == 1, "a size is an int64");
      *static_cast<int64_t*>(into) = descriptor.engine == kWithWorkspace ? kWorkspaceBytes : 0;
      return 1;
    default: throw Refusal(CUDNN_STATUS_NOT_SUPPORTED, "an attribute that isn't played");
  }
}

/// Where all tensors of the operation lie, as the pack says; values on the host are copied.
std::map<int64_t, std::vector<std::byte>> valuesOnHost(const Operation& operation,
                                                       const std::map<int64_t, void*>& pointers) {
  std::map<int64_t, std::vector<std::byte>> values;
  demand(pointers.size() == operation.tensors.size(), "not as many pointers as tensors");
  DeviceMemory& memory = DeviceMemory::instance();
  for (const TensorOf& tensor : operation.tensors) {
    const auto found = pointers.find(tensor.id);
    demand(found != pointers.end() && found->second, "a tensor has no pointer");
    if (tensor.byValue) {
      demand(!memory.owns(found->second), "a value of the host lies on the device");
      const auto* bytes = static_cast<const std::byte*>(found->second);
      values[tensor.id] = {bytes, bytes + tensor.bytes()};
      continue;
    }
    demand(memory.contains(found->second, tensor.bytes()), "a tensor isn't within one allocation of the device");
    demand(memory.deviceOf(found->second) == currentDevice(), "a tensor is another device's");
    demand(reinterpret_cast<uintptr_t>(found->second) % static_cast<uintptr_t>(tensor.alignment) == 0,
           "a tensor isn't aligned as its descriptor says");
  }
  return values;
}

void execute(cudnnHandle_t handle, const Descriptor& plan, const Descriptor& pack) {
  demand(plan.finalized && pack.finalized, "not finalized", CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  demand(valueOf<cudnnHandle_t>(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE) == handle, "the plan is another handle's");
  const Descriptor& config = partOf(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  Operation operation = operationIn(graphOf(config));
  const auto ids = valuesOf<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto data = valuesOf<void*>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  std::map<int64_t, void*> pointers;
  for (size_t i = 0; i < ids.size(); ++i) pointers[ids[i]] = data[i];
  auto values = valuesOnHost(operation, pointers);

  void* const workspace = valueOf<void*>(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  const size_t workspaceBytes = plan.engine == kWithWorkspace ? kWorkspaceBytes : 0;
  if (workspaceBytes > 0) {
    demand(DeviceMemory::instance().contains(workspace, workspaceBytes), "the workspace is too small");
    demand(reinterpret_cast<uintptr_t>(workspace) % 16 == 0, "the workspace isn't aligned");
  }
  demand(plan.engine != setting("KN_EMULATION_FAIL_ENGINE", 0), "this engine fails", CUDNN_STATUS_EXECUTION_FAILED);
  demandCuda(entered("cudnnBackendExecute"));
  demandCuda(enqueue(handle->stream, cudaGraphNodeTypeKernel,
                     [operation = std::move(operation), pointers = std::move(pointers), values = std::move(values),
                      workspace, workspaceBytes]() mutable {
                       // Whatever lies there is lost.
                       if (workspaceBytes > 0) std::memset(workspace, 0xFF, workspaceBytes);
                       operation.run([&](int64_t id) -> void* {
                         const auto value = values.find(id);
                         return value == values.end() ? pointers.at(id) : value->second.data();
                       });
                     }));
}

}  // namespace
}  // namespace kn::emulation::dnn

using namespace kn::emulation;
using namespace kn::emulation::dnn;

size_t cudnnGetVersion() { return CUDNN_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
      return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    default: return "CUDNN_STATUS_BAD_PARAM";
  }
}

void cudnnGetLastErrorString(char* message, size_t size) {
  std::snprintf(message, size, "%s", lastReason.c_str());
  lastReason.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return guarded([&] {
    demandCuda(entered("cudnnCreate"));
    demandCuda(unsafeCall());
    *handle = new cudnnContext;
  });
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  *descriptor = new Handle(std::make_shared<Descriptor>(Descriptor{type, false, {}, -1}));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Handle*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* data) {
  return guarded([&] { setAttribute(descriptorOf(descriptor), name, type, count, data); });
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return guarded([&] { finalize(descriptorOf(descriptor)); });
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room, int64_t* count, void* into) {
  return guarded([&] { *count = get(descriptorOf(descriptor), name, type, room, into); });
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  return guarded([&] { execute(handle, descriptorOf(plan), descriptorOf(pack)); });
}
