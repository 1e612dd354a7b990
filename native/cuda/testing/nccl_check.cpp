// For "npm run cuda:check": what native/distributed/nccl/api.h says of NCCL against NCCL's own header, by the compiler,
// and the library itself as far as it goes without a GPU.
#include <nccl.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "../../distributed/nccl/api.h"

namespace {

/// Whether two types travel alike in a call: the values of one are read as the other's.
template <class Ours, class Theirs>
constexpr bool alike =
    sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs) &&
    std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>&& std::is_class_v<Ours> == std::is_class_v<Theirs>;

template <class Ours, class Theirs>
constexpr bool sameCall = false;
template <class Result, class... Arguments, class OtherResult, class... OtherArguments>
requires(
    sizeof...(Arguments) ==
    sizeof...(OtherArguments)) constexpr bool sameCall<Result (*)(Arguments...), OtherResult (*)(OtherArguments...)> =
    alike<Result, OtherResult> && (alike<Arguments, OtherArguments> && ...);

#define KN_SAME_CALL(name) static_assert(sameCall<decltype(kn::nccl::Api::name), decltype(&nccl##name)>)
KN_SAME_CALL(GetVersion);
KN_SAME_CALL(GetUniqueId);
KN_SAME_CALL(CommInitRankConfig);
KN_SAME_CALL(CommGetAsyncError);
KN_SAME_CALL(CommDestroy);
KN_SAME_CALL(CommAbort);
KN_SAME_CALL(GetErrorString);
KN_SAME_CALL(GetLastError);
KN_SAME_CALL(GroupStart);
KN_SAME_CALL(GroupEnd);
KN_SAME_CALL(AllReduce);
KN_SAME_CALL(Broadcast);
KN_SAME_CALL(AllGather);

static_assert(kn::nccl::Success == static_cast<int>(ncclSuccess));
static_assert(kn::nccl::SystemError == static_cast<int>(ncclSystemError));
static_assert(kn::nccl::InvalidArgument == static_cast<int>(ncclInvalidArgument));
static_assert(kn::nccl::InvalidUsage == static_cast<int>(ncclInvalidUsage));
static_assert(kn::nccl::InProgress == static_cast<int>(ncclInProgress));
static_assert(kn::nccl::Uint8 == static_cast<int>(ncclUint8) && kn::nccl::Float32 == static_cast<int>(ncclFloat32));
static_assert(kn::nccl::Sum == static_cast<int>(ncclSum) && kn::nccl::Average == static_cast<int>(ncclAvg));
static_assert(sizeof(kn::nccl::UniqueId) == sizeof(ncclUniqueId));

#define KN_SAME_PLACE(field)                                                          \
  static_assert(offsetof(kn::nccl::Config, field) == offsetof(ncclConfig_t, field) && \
                alike<decltype(kn::nccl::Config::field), decltype(ncclConfig_t::field)>)
KN_SAME_PLACE(size);
KN_SAME_PLACE(magic);
KN_SAME_PLACE(version);
KN_SAME_PLACE(blocking);
static_assert(kn::nccl::Config{}.magic == NCCL_API_MAGIC);

int failed(const char* what) {
  std::printf("FAIL  %s\n", what);
  return 1;
}

}  // namespace

int main() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess || version != NCCL_VERSION_CODE) return failed("ncclGetVersion");
  // As native/distributed/nccl/load.cpp has it: the address in the id is where the others will look for this process.
  setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  ncclUniqueId id{};
  if (ncclGetUniqueId(&id) != ncclSuccess) return failed("ncclGetUniqueId");
  constexpr char loopback[] = {127, 0, 0, 1};
  if (!memmem(id.internal, sizeof id.internal, loopback, sizeof loopback)) return failed("the id isn't of loopback");
  std::printf("NCCL %d.%d.%d: interface as declared, an id on the loopback\n", version / 10000, version % 10000 / 100,
              version % 100);
  return 0;
}
