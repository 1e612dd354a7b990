#include "communicator.h"

#include <thread>
#include <utility>

#include "../../core/ops/checks.h"
#include "../../core/ops/memory.h"

namespace kn::nccl {
namespace {

using Clock = std::chrono::steady_clock;

/// Between two looks at a call that goes on in a thread of NCCL's.
constexpr std::chrono::microseconds kLookInterval{50};

/// A tensor's values as they lie in memory, which is the same in all processes for one shape and format.
struct Block {
  void* data;
  size_t count;
};

Block blockOf(Device& device, const Tensor& tensor, DType dtype, Name name) {
  checkAlive(tensor, name);
  require(tensor.dtype == dtype && tensor.stored == dtype, ErrorCode::DTypeMismatch, name, " must be ",
          dtypeName(dtype), ", got ", dtypeName(tensor.stored));
  checkDevice(device, tensor, name);
  const int64_t count = dtype == DType::F32 ? device.physicalCount(tensor.shape, tensor.format) : tensor.count();
  return {tensor.data<void>(), static_cast<size_t>(count)};
}

}  // namespace

Communicator::Communicator(std::shared_ptr<Device> device, const Api& api, const UniqueId& id, Place place,
                           std::chrono::milliseconds timeout)
    : device_(std::move(device)), api_(api), place_(place), timeout_(timeout) {
  require(place.size >= 1 && place.rank >= 0 && place.rank < place.size, ErrorCode::InvalidArgument,
          "connectNccl: rank must be below size, got ", place.rank, " of ", place.size);
  require(!device_->recording(), ErrorCode::InvalidState, "connectNccl: a step is being recorded on ", device_->name());
  device_->launchForeign("ncclCommInitRankConfig", [&](void*) {
    Config config;
    const Result result = api_.CommInitRankConfig(&comm_, place.size, id, place.rank, &config);
    if (result != Success && result != InProgress) fail(result);
  });
}

bool Communicator::ready() const {
  const Result now = state();
  if (now != Success && now != InProgress) fail(now);
  return now == Success;
}

void Communicator::allReduce(const std::vector<Tensor>& tensors, bool mean) {
  std::vector<Block> blocks;
  blocks.reserve(tensors.size());
  for (const Tensor& tensor : tensors)
    blocks.push_back(blockOf(*device_, tensor, DType::F32, {"allReduce", "tensors"}));
  if (blocks.empty()) return;
  enqueue("ncclAllReduce", [&](void* stream) {
    if (const Result begun = api_.GroupStart(); begun != Success) return begun;
    Result result = Success;
    for (const auto& [data, count] : blocks) {
      result = api_.AllReduce(data, data, count, Float32, mean ? Average : Sum, comm_, stream);
      if (result != Success && result != InProgress) break;
    }
    // A group that has begun has to end, whatever its calls said.
    const Result ended = api_.GroupEnd();
    return result == Success || result == InProgress ? ended : result;
  });
  for (const Tensor& tensor : tensors) written(tensor);
}

void Communicator::broadcast(const Tensor& tensor, int root) {
  require(root >= 0 && root < place_.size, ErrorCode::InvalidArgument, "broadcast: root must be a rank below ",
          place_.size, ", got ", root);
  const Block block = blockOf(*device_, tensor, DType::F32, {"broadcast", "tensor"});
  enqueue("ncclBroadcast", [&](void* stream) {
    return api_.Broadcast(block.data, block.data, block.count, Float32, root, comm_, stream);
  });
  written(tensor);
}

void Communicator::allGather(const Tensor& from, const Tensor& to) {
  const Block own = blockOf(*device_, from, DType::U8, {"allGather", "from"});
  const Block all = blockOf(*device_, to, DType::U8, {"allGather", "to"});
  require(all.count == own.count * static_cast<size_t>(place_.size), ErrorCode::ShapeMismatch,
          "allGather: to must have ", own.count * static_cast<size_t>(place_.size), " values, got ", all.count);
  enqueue("ncclAllGather",
          [&](void* stream) { return api_.AllGather(own.data, all.data, own.count, Uint8, comm_, stream); });
}

// NCCL waits for its own kernels, and for a recorded step that still refers to them: in a thread, so that nobody else
// does.
void Communicator::close() {
  if (comm_) std::thread(api_.CommDestroy, std::exchange(comm_, nullptr)).detach();
}

void Communicator::abort() {
  if (comm_) std::thread(api_.CommAbort, std::exchange(comm_, nullptr)).detach();
}

void Communicator::abortNow() {
  if (comm_) api_.CommAbort(std::exchange(comm_, nullptr));
}

void Communicator::enqueue(const char* name, const std::function<Result(void* stream)>& call) {
  require(comm_ != nullptr, ErrorCode::InvalidState, name, ": the group is closed");
  device_->launchForeign(name, [&](void* stream) { settle(call(stream)); });
}

/// Waits where NCCL's own thread has to finish a call before the next may come.
void Communicator::settle(Result result) const {
  const auto end = Clock::now() + timeout_;
  for (; result == InProgress; result = state()) {
    require(Clock::now() < end, ErrorCode::DeviceFailed, "NCCL didn't come back within ", timeout_.count(), " ms");
    std::this_thread::sleep_for(kLookInterval);
  }
  if (result != Success) fail(result);
}

Result Communicator::state() const {
  require(comm_ != nullptr, ErrorCode::InvalidState, "the group is closed");
  Result now = Success;
  const Result asked = api_.CommGetAsyncError(comm_, &now);
  return asked == Success ? now : asked;
}

void Communicator::fail(Result result) const {
  const char* const detail = comm_ ? api_.GetLastError(comm_) : nullptr;
  const bool told = detail && *detail;
  throw Error(ErrorCode::DeviceFailed,
              std::string("NCCL: ") + api_.GetErrorString(result) + (told ? std::string(" (") + detail + ")" : ""));
}

}  // namespace kn::nccl
