#pragma once
#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <vector>

#include "../../core/runtime/collective.h"
#include "first_failure.h"

namespace kn::cuda {

/// An exchange by way of the host, as a part of a stream or of a recorded step: values come down, a function of the
/// host works on them, and they go up again. It must live until the stream has got there, as often as it does.
class HostExchange {
 public:
  using Body = std::function<void(float* values)>;

  /// `values`: pinned memory for those of all blocks. What the body throws becomes the device's failure; a device that
  /// has failed isn't asked any more.
  HostExchange(const char* label, std::shared_ptr<void> values, Body body, FirstFailure& failure)
      : label_(label), values_(std::move(values)), body_(std::move(body)), failure_(failure) {}
  HostExchange(const HostExchange&) = delete;

  void enqueue(cudaStream_t stream, const std::vector<FloatBlock>& blocks);

 private:
  void copyAll(cudaStream_t stream, const std::vector<FloatBlock>& blocks, cudaMemcpyKind kind) const;
  static void run(void* self);

  const char* const label_;
  const std::shared_ptr<void> values_;
  const Body body_;
  FirstFailure& failure_;
};

}  // namespace kn::cuda
