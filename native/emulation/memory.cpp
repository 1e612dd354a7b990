#include <cstdlib>
#include <cstring>
#include <set>

#include "device_memory.h"
#include "failures.h"
#include "streams.h"

namespace kn::emulation {
namespace {

/// Host memory that the runtime has given out.
struct HostMemory {
  std::mutex mutex;
  std::set<void*> blocks;

  static HostMemory& instance() {
    static HostMemory& memory = *new HostMemory;
    return memory;
  }
};

bool rightKind(cudaMemcpyKind kind, bool toDevice, bool fromDevice) {
  switch (kind) {
    case cudaMemcpyHostToHost: return !toDevice && !fromDevice;
    case cudaMemcpyHostToDevice: return toDevice && !fromDevice;
    case cudaMemcpyDeviceToHost: return !toDevice && fromDevice;
    case cudaMemcpyDeviceToDevice: return toDevice && fromDevice;
    case cudaMemcpyDefault: return true;
  }
  return false;
}

}  // namespace

LiveObjects liveObjects() {
  Registry& registry = Registry::instance();
  uint64_t generation = 0;
  const auto deviceBlocks = static_cast<int64_t>(DeviceMemory::instance().blocks(generation).size());
  HostMemory& host = HostMemory::instance();
  std::scoped_lock lock(registry.mutex, host.mutex);
  return {static_cast<int64_t>(registry.streams.size()),
          static_cast<int64_t>(registry.events.size()),
          liveGraphs,
          liveExecutables,
          deviceBlocks,
          static_cast<int64_t>(host.blocks.size())};
}

}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (const cudaError_t error = entered()) return error;
  if (const cudaError_t error = unsafeCall()) return error;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = DeviceMemory::instance().allocate(bytes, currentDevice());
  return *pointer ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* pointer) {
  if (!pointer) return left();
  if (const cudaError_t error = unsafeCall()) return error;
  waitForAll();
  if (!DeviceMemory::instance().free(pointer)) return failed(cudaErrorInvalidValue);
  return left();
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  if (const cudaError_t error = entered()) return error;
  *total = DeviceMemory::instance().limit();
  *available = *total - DeviceMemory::instance().used(currentDevice());
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  if (const cudaError_t error = entered()) return error;
  if (const cudaError_t error = unsafeCall()) return error;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!*pointer) return failed(cudaErrorMemoryAllocation);
  HostMemory& memory = HostMemory::instance();
  std::lock_guard lock(memory.mutex);
  memory.blocks.insert(*pointer);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }

cudaError_t cudaFreeHost(void* pointer) {
  if (!pointer) return left();
  if (const cudaError_t error = unsafeCall()) return error;
  waitForAll();
  HostMemory& memory = HostMemory::instance();
  std::lock_guard lock(memory.mutex);
  if (memory.blocks.erase(pointer) == 0) return failed(cudaErrorInvalidValue);
  std::free(pointer);
  return left();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = entered()) return error;
  if (bytes == 0) return cudaSuccess;
  DeviceMemory& device = DeviceMemory::instance();
  const bool toDevice = device.owns(to), fromDevice = device.owns(from);
  if (!to || !from || !rightKind(kind, toDevice, fromDevice)) return failed(cudaErrorInvalidValue);
  if ((toDevice && !device.contains(to, bytes)) || (fromDevice && !device.contains(from, bytes)))
    return failed(cudaErrorInvalidValue);
  return enqueue(stream, cudaGraphNodeTypeMemcpy, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = entered()) return error;
  if (bytes == 0) return cudaSuccess;
  if (!DeviceMemory::instance().contains(to, bytes)) return failed(cudaErrorInvalidValue);
  return enqueue(stream, cudaGraphNodeTypeMemset, [=] { std::memset(to, value, bytes); });
}
