#include "communicator_wrap.h"

#include <cstring>
#include <utility>

#include "device_wrap.h"

namespace kn::addon {
namespace {

std::string ncclVersion(const std::string& library) { return nccl::load(library).version; }

/// What all processes of a group have to be given, by one of them.
Napi::Value ncclUniqueId(Environment& environment, const std::string& library) {
  const nccl::Api& api = nccl::load(library);
  nccl::UniqueId id{};
  const nccl::Result result = api.GetUniqueId(&id);
  require(result == nccl::Success, ErrorCode::DeviceFailed, "ncclGetUniqueId: ", api.GetErrorString(result));
  auto bytes = Napi::Uint8Array::New(environment.env, sizeof id.bytes);
  std::memcpy(bytes.Data(), id.bytes, sizeof id.bytes);
  return bytes;
}

Napi::Value connectNccl(Environment& environment, const std::shared_ptr<Device>& device, const std::string& library,
                        const Values& id, int64_t rank, int64_t size, int64_t milliseconds) {
  nccl::UniqueId unique{};
  require(id.dtype == DType::U8 && id.count == sizeof unique.bytes, ErrorCode::InvalidArgument,
          "connectNccl: id must be a Uint8Array of ", sizeof unique.bytes, " bytes");
  std::memcpy(unique.bytes, id.data, sizeof unique.bytes);
  return CommunicatorWrap::make(
      environment, std::make_shared<nccl::Communicator>(device, nccl::load(library), unique,
                                                        nccl::Place{static_cast<int>(rank), static_cast<int>(size)},
                                                        std::chrono::milliseconds(milliseconds)));
}

Napi::Value ready(Environment& environment, const nccl::Communicator& communicator) {
  return Napi::Boolean::New(environment.env, communicator.ready());
}
void startAllReduce(nccl::Communicator& communicator, const std::vector<Tensor>& tensors, bool mean) {
  communicator.startAllReduce(tensors, mean);
}
void broadcast(nccl::Communicator& communicator, const Tensor& tensor, int64_t root) {
  communicator.broadcast(tensor, static_cast<int>(root));
}
void allGather(nccl::Communicator& communicator, const Tensor& from, const Tensor& to) {
  communicator.allGather(from, to);
}
void close(nccl::Communicator& communicator) { communicator.close(); }
void abort(nccl::Communicator& communicator) { communicator.abort(); }

const Functions functions{
    bind<&ncclVersion>("ncclVersion", "library"),
    bind<&ncclUniqueId>("ncclUniqueId", "library"),
    bind<&connectNccl>("connectNccl", "device", "library", "id", "rank", "size", "milliseconds"),
};

}  // namespace

const Bindings& CommunicatorWrap::bindings() {
  static const Bindings table{
      method<&ready>("ready", "communicator"),
      method<&startAllReduce>("startAllReduce", "communicator", "tensors", "mean"),
      method<&broadcast>("broadcast", "communicator", "tensor", "root"),
      method<&allGather>("allGather", "communicator", "from", "to"),
      method<&close>("close", "communicator"),
      method<&abort>("abort", "communicator"),
  };
  return table;
}

Napi::Value CommunicatorWrap::make(Environment& environment, std::shared_ptr<nccl::Communicator> communicator) {
  environment.adopt(communicator);
  CommunicatorWrap& wrap = create(environment.communicatorClass);
  wrap.communicator = std::move(communicator);
  return wrap.Value();
}

nccl::Communicator& Read<nccl::Communicator>::from(Call& call) {
  const Argument argument = call.next();
  const CommunicatorWrap* wrap = CommunicatorWrap::unwrap(argument.value);
  if (!wrap) argument.fail(CommunicatorWrap::expected);
  if (!wrap->communicator) argument.disposed();
  return *wrap->communicator;
}

}  // namespace kn::addon
