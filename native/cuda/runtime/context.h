#pragma once
#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "../../core/ops/views.h"
#include "../../core/runtime/tensor.h"

namespace kn::cuda {

class Libraries;

/// For the blocks of a launch to tell which of them is the last (device/last_block.cuh).
constexpr int kTickets = 1024;

/// Where a launch runs and what it may use.
struct Context {
  cudaStream_t stream = nullptr;
  /// Memory for the length of a launch: whatever is enqueued later may use it again.
  std::function<std::shared_ptr<Storage>(size_t bytes)> scratch;
  Libraries* libraries = nullptr;
  unsigned* tickets = nullptr;  ///< kTickets counters in the device's memory, zero between launches
  bool tf32 = false;
};

}  // namespace kn::cuda
