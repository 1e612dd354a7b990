#include "communicator.h"

#include <thread>
#include <utility>

#include "../../core/ops/collective.h"

namespace kn::nccl {
namespace {

using Clock = std::chrono::steady_clock;

/// Between two looks at a call that goes on in a thread of NCCL's.
constexpr std::chrono::microseconds kLookInterval{50};

void* bytesOf(Device& device, const Tensor& tensor, Name name) {
  checkAlive(tensor, name);
  require(tensor.dtype == DType::U8, ErrorCode::DTypeMismatch, name, " must be uint8, got ", dtypeName(tensor.dtype));
  checkDevice(device, tensor, name);
  return tensor.data<void>();
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

void Communicator::startAllReduce(const std::vector<Tensor>& tensors, bool mean) {
  const std::vector<FloatBlock> blocks = floatBlocks(*device_, tensors, {"allReduce", "tensors"});
  if (blocks.empty()) return;
  enqueue("ncclAllReduce", [&](void* stream) {
    if (const Result begun = api_.GroupStart(); begun != Success) return begun;
    Result result = Success;
    for (const auto& [data, count] : blocks) {
      result = api_.AllReduce(data, data, static_cast<size_t>(count), Float32, mean ? Average : Sum, comm_, stream);
      if (result != Success && result != InProgress) break;
    }
    // A group that has begun has to end, whatever its calls said.
    const Result ended = api_.GroupEnd();
    return result == Success || result == InProgress ? ended : result;
  });
  device_->exchanging(tensors);
}

void Communicator::broadcast(const Tensor& tensor, int root) {
  require(root >= 0 && root < place_.size, ErrorCode::InvalidArgument, "broadcast: root must be a rank below ",
          place_.size, ", got ", root);
  const FloatBlock block = floatBlock(*device_, tensor, {"broadcast", "tensor"});
  enqueue("ncclBroadcast", [&](void* stream) {
    return api_.Broadcast(block.data, block.data, static_cast<size_t>(block.count), Float32, root, comm_, stream);
  });
  device_->exchanging({tensor});
  device_->joinExchanges();
}

void Communicator::allGather(const Tensor& from, const Tensor& to) {
  const void* const own = bytesOf(*device_, from, {"allGather", "from"});
  void* const all = bytesOf(*device_, to, {"allGather", "to"});
  require(to.count() == from.count() * place_.size, ErrorCode::ShapeMismatch, "allGather: to must have ",
          from.count() * place_.size, " values, got ", to.count());
  const auto count = static_cast<size_t>(from.count());
  enqueue("ncclAllGather", [&](void* stream) { return api_.AllGather(own, all, count, Uint8, comm_, stream); });
  device_->exchanging({from, to});
  device_->joinExchanges();
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
