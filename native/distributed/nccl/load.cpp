#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "../../addon/cuda_library.h"
#include "../../core/runtime/error.h"
#include "api.h"

namespace kn::nccl {
namespace {

/// The first with communicators that don't block, which can be given up.
constexpr int kOldest = 21400;

std::string versionText(int code) {
  return std::to_string(code / 10000) + '.' + std::to_string(code % 10000 / 100) + '.' + std::to_string(code % 100);
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  require(function != nullptr, ErrorCode::DeviceUnavailable,
          "NCCL 2.14 or newer is needed: the library that was found has no ", name);
}

Api functionsOf(void* library) {
  Api api{};
  find(library, "ncclGetVersion", api.GetVersion);
  int version = 0;
  api.GetVersion(&version);
  // Before 2.9 the code had other places; any of those is smaller.
  require(version >= kOldest, ErrorCode::DeviceUnavailable, "NCCL 2.14 or newer is needed, found ",
          versionText(version));
  api.version = versionText(version);
  find(library, "ncclGetUniqueId", api.GetUniqueId);
  find(library, "ncclCommInitRankConfig", api.CommInitRankConfig);
  find(library, "ncclCommGetAsyncError", api.CommGetAsyncError);
  find(library, "ncclCommDestroy", api.CommDestroy);
  find(library, "ncclCommAbort", api.CommAbort);
  find(library, "ncclGetErrorString", api.GetErrorString);
  find(library, "ncclGetLastError", api.GetLastError);
  find(library, "ncclGroupStart", api.GroupStart);
  find(library, "ncclGroupEnd", api.GroupEnd);
  find(library, "ncclAllReduce", api.AllReduce);
  find(library, "ncclBroadcast", api.Broadcast);
  find(library, "ncclAllGather", api.AllGather);
  return api;
}

}  // namespace

const Api& load(const std::string& library) {
  static std::mutex mutex;
  static std::map<std::string, Api> loaded;
  std::lock_guard lock(mutex);
  const auto found = loaded.find(library);
  if (found != loaded.end()) return found->second;
  const Api api = functionsOf(addon::openNvidiaLibrary(library, "a process group over NCCL"));
  // NCCL's sockets have no password. The groups are of one machine, so theirs needn't be seen by others.
  setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  return loaded.emplace(library, api).first->second;
}

}  // namespace kn::nccl
