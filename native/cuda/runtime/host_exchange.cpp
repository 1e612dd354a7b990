#include "host_exchange.h"

#include <string>

#include "check.h"

namespace kn::cuda {

void HostExchange::enqueue(cudaStream_t stream, const std::vector<FloatBlock>& blocks) {
  copyAll(stream, blocks, cudaMemcpyDeviceToHost);
  KN_CUDA_CHECK(cudaLaunchHostFunc(stream, &HostExchange::run, this));
  copyAll(stream, blocks, cudaMemcpyHostToDevice);
}

void HostExchange::copyAll(cudaStream_t stream, const std::vector<FloatBlock>& blocks, cudaMemcpyKind kind) const {
  auto* host = static_cast<float*>(values_.get());
  for (const auto& [data, length] : blocks) {
    const bool down = kind == cudaMemcpyDeviceToHost;
    KN_CUDA_CHECK(cudaMemcpyAsync(down ? host : data, down ? data : host, length * sizeof(float), kind, stream));
    host += length;
  }
}

// In a thread of the driver. What is behind it runs even where it fails, as the stream can't be told.
void HostExchange::run(void* self) {
  const auto& exchange = *static_cast<const HostExchange*>(self);
  try {
    if (!exchange.failure_.known()) exchange.body_(static_cast<float*>(exchange.values_.get()));
  } catch (const std::exception& error) {
    exchange.failure_.note({ErrorCode::GroupFailed, std::string(exchange.label_) + ": " + error.what()});
  }
}

}  // namespace kn::cuda
