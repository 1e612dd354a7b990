/// NCCL, played: the functions of native/distributed/nccl/api.h. Every argument is checked, collectives run on the
/// emulated stream and exchange values between processes. Stricter than NCCL: communicators must not block, and a call
/// may not come before the one that is in progress has ended, and all come in one stream.
#include <dlfcn.h>
#include <link.h>

#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "../library_hooks.h"
#include "communicator.h"

using namespace kn::emulation::nccl;
using kn::emulation::LibraryHooks;
using kn::nccl::Comm;
using kn::nccl::Config;
using kn::nccl::UniqueId;

namespace {

std::mutex mutex;
/// By the handles that were given out.
std::map<Comm, std::shared_ptr<Communicator>> communicators;

/// Calls between ncclGroupStart and ncclGroupEnd.
struct Pending {
  std::shared_ptr<Communicator> communicator;
  Collective collective;
  const void* from;
  void* to;
  cudaStream_t stream;
};
thread_local int groups = 0;
thread_local std::vector<Pending> pending;

/// The emulated runtime lies in the library of the device, which the process has loaded already.
int findHooks(dl_phdr_info* info, size_t, void* found) {
  if (!std::strstr(info->dlpi_name, "kalman_norm_cuda_")) return 0;
  void* library = dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
  if (!library) return 0;
  const auto entry = reinterpret_cast<const LibraryHooks* (*)()>(dlsym(library, kn::emulation::kLibraryHooks));
  if (entry) *static_cast<const LibraryHooks**>(found) = entry();
  dlclose(library);
  return entry ? 1 : 0;
}

const LibraryHooks& hooks() {
  static const LibraryHooks* const found = [] {
    const LibraryHooks* hooks = nullptr;
    dl_iterate_phdr(findHooks, &hooks);
    return hooks;
  }();
  return *found;
}

Result refuse(Result result, const std::string& reason) {
  noteError(reason);
  return result;
}

std::shared_ptr<Communicator> find(Comm comm) {
  std::lock_guard lock(mutex);
  const auto found = communicators.find(comm);
  return found == communicators.end() ? nullptr : found->second;
}

std::shared_ptr<Communicator> take(Comm comm) {
  std::lock_guard lock(mutex);
  auto node = communicators.extract(comm);
  return node.empty() ? nullptr : node.mapped();
}

Result enqueue(const Pending& call) {
  const auto& [communicator, collective, from, to, stream] = call;
  const cudaError_t status =
      hooks().enqueue(stream, [communicator, collective, from, to] { communicator->run(collective, from, to); });
  if (status != cudaSuccess) return refuse(kn::nccl::InvalidArgument, "the stream is none of the current device's");
  return kn::nccl::Success;
}

/// Enqueues what is pending.
Result flush() {
  const std::vector<Pending> calls = std::exchange(pending, {});
  for (const Pending& call : calls) {
    if (const Result result = enqueue(call); result != kn::nccl::Success) return result;
  }
  return !calls.empty() && calls[0].communicator->delay() ? kn::nccl::InProgress : kn::nccl::Success;
}

Result collect(Comm comm, const Collective& collective, const void* from, void* to, void* stream) {
  const auto communicator = find(comm);
  if (!communicator) return refuse(kn::nccl::InvalidArgument, "there is no such communicator");
  const Result state = communicator->state();
  if (state == kn::nccl::InProgress) return refuse(kn::nccl::InvalidUsage, "another call is in progress");
  if (state != kn::nccl::Success) return state;
  if (!communicator->keepsTo(stream)) return refuse(kn::nccl::InvalidUsage, "an earlier call was in another stream");
  const int device = communicator->device;
  if (hooks().currentDevice() != device) return refuse(kn::nccl::InvalidArgument, "another device is the current one");
  const size_t bytes = collective.count * elementBytes(collective.type);
  const size_t received = collective.kind == Kind::AllGather ? bytes * static_cast<size_t>(communicator->size) : bytes;
  const bool typed = collective.type == kn::nccl::Float32 ||
                     (collective.type == kn::nccl::Uint8 && collective.kind != Kind::AllReduce);
  const bool detailed = collective.kind == Kind::AllReduce
                            ? collective.detail == kn::nccl::Sum || collective.detail == kn::nccl::Average
                            : collective.detail >= 0 && collective.detail < communicator->size;
  if (!typed || !detailed) return refuse(kn::nccl::InvalidArgument, "type, reduction or root is none that is played");
  if (bytes == 0 || !hooks().owns(device, from, bytes) || !hooks().owns(device, to, received)) {
    return refuse(kn::nccl::InvalidArgument,
                  "the values of an " + collective.text() + " aren't all memory of the device");
  }
  pending.push_back({communicator, collective, from, to, static_cast<cudaStream_t>(stream)});
  return groups > 0 ? kn::nccl::Success : flush();
}

}  // namespace

#define KN_PLAYED extern "C" __attribute__((visibility("default")))

KN_PLAYED Result ncclGetVersion(int* version) {
  *version = 22809;
  return kn::nccl::Success;
}

KN_PLAYED Result ncclGetUniqueId(UniqueId* id) {
  *id = {};
  try {
    Communicator::makeFile().copy(id->bytes, sizeof id->bytes - 1);
    return kn::nccl::Success;
  } catch (const std::exception& error) {
    return refuse(kn::nccl::SystemError, error.what());
  }
}

KN_PLAYED Result ncclCommInitRankConfig(Comm* comm, int size, UniqueId id, int rank, Config* config) {
  *comm = nullptr;
  const Config expected;
  if (config->size < sizeof(Config) || config->magic != expected.magic || config->blocking != 0) {
    return refuse(kn::nccl::InvalidArgument, "the configuration is none of a communicator that doesn't block");
  }
  if (rank < 0 || rank >= size) return refuse(kn::nccl::InvalidArgument, "the rank is not below the size");
  try {
    auto made = std::make_shared<Communicator>(id.bytes, size, rank, hooks().currentDevice());
    *comm = reinterpret_cast<Comm>(made.get());
    std::lock_guard lock(mutex);
    communicators.emplace(*comm, std::move(made));
    return kn::nccl::InProgress;
  } catch (const std::exception& error) {
    return refuse(kn::nccl::InvalidArgument, error.what());
  }
}

KN_PLAYED Result ncclCommGetAsyncError(Comm comm, Result* error) {
  const auto communicator = find(comm);
  if (!communicator) return refuse(kn::nccl::InvalidArgument, "there is no such communicator");
  *error = communicator->state();
  return kn::nccl::Success;
}

/// What is on the stream keeps it alive, as a real one waits for it.
KN_PLAYED Result ncclCommDestroy(Comm comm) { return take(comm) ? kn::nccl::Success : kn::nccl::InvalidArgument; }

KN_PLAYED Result ncclCommAbort(Comm comm) {
  const auto communicator = take(comm);
  if (!communicator) return kn::nccl::InvalidArgument;
  communicator->abort();
  return kn::nccl::Success;
}

KN_PLAYED const char* ncclGetErrorString(Result result) {
  switch (result) {
    case kn::nccl::Success: return "no error";
    case kn::nccl::SystemError: return "unhandled system error";
    case kn::nccl::InvalidArgument: return "invalid argument";
    case kn::nccl::InvalidUsage: return "invalid usage";
    case kn::nccl::InProgress: return "NCCL operation in progress";
    default: return "unknown result code";
  }
}

KN_PLAYED const char* ncclGetLastError(Comm) {
  thread_local std::string text;
  text = lastError();
  return text.c_str();
}

KN_PLAYED Result ncclGroupStart() {
  ++groups;
  return kn::nccl::Success;
}

KN_PLAYED Result ncclGroupEnd() {
  if (groups == 0) return refuse(kn::nccl::InvalidUsage, "no group has begun");
  if (--groups > 0) return kn::nccl::Success;
  return flush();
}

KN_PLAYED Result ncclAllReduce(const void* from, void* to, size_t count, Type type, Reduction reduction, Comm comm,
                               void* stream) {
  return collect(comm, {Kind::AllReduce, type, reduction, count}, from, to, stream);
}

KN_PLAYED Result ncclBroadcast(const void* from, void* to, size_t count, Type type, int root, Comm comm, void* stream) {
  return collect(comm, {Kind::Broadcast, type, root, count}, from, to, stream);
}

KN_PLAYED Result ncclAllGather(const void* from, void* to, size_t count, Type type, Comm comm, void* stream) {
  return collect(comm, {Kind::AllGather, type, 0, count}, from, to, stream);
}
