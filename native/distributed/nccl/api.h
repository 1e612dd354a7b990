#pragma once
#include <cstddef>
#include <string>

/// What is used of NCCL's C interface, with the layouts and numbers of its nccl.h, which stay the same within version
/// 2; so neither header nor library is needed to build.
namespace kn::nccl {

/// ncclResult_t. Later versions may have more.
enum Result : int { Success = 0, SystemError = 2, InvalidArgument = 4, InvalidUsage = 5, InProgress = 7 };
/// ncclDataType_t
enum Type : int { Uint8 = 1, Float32 = 7 };
/// ncclRedOp_t
enum Reduction : int { Sum = 0, Average = 4 };

/// ncclComm_t
using Comm = struct ncclComm*;

/// ncclUniqueId, which travels by value.
struct UniqueId {
  char bytes[128];
};

/// ncclConfig_t as of version 2.14: a newer library takes the rest to be unset, by size and version.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};

/// The functions of a library that has been loaded; the same names, but for their "nccl".
struct Api {
  Result (*GetVersion)(int* version);
  Result (*GetUniqueId)(UniqueId* id);
  Result (*CommInitRankConfig)(Comm* comm, int size, UniqueId id, int rank, Config* config);
  Result (*CommGetAsyncError)(Comm comm, Result* error);
  Result (*CommDestroy)(Comm comm);
  Result (*CommAbort)(Comm comm);
  const char* (*GetErrorString)(Result result);
  const char* (*GetLastError)(Comm comm);
  Result (*GroupStart)();
  Result (*GroupEnd)();
  Result (*AllReduce)(const void* from, void* to, size_t count, Type type, Reduction reduction, Comm comm,
                      void* stream);
  Result (*Broadcast)(const void* from, void* to, size_t count, Type type, int root, Comm comm, void* stream);
  Result (*AllGather)(const void* from, void* to, size_t count, Type type, Comm comm, void* stream);

  /// Such as "2.28.9".
  std::string version;
};

/// Loads a library once: a path, or a name such as "libnccl.so.2" for the first that is found. Throws DeviceUnavailable
/// where there is none, or it is older than 2.14, with the remedy.
const Api& load(const std::string& library);

}  // namespace kn::nccl
