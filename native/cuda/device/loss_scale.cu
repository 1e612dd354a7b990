#include <cmath>

#include "kernels.h"
#include "tensor_batch.cuh"

namespace kn::cuda {

struct CheckedTensor {
  const float* data;
  int64_t count;
  int32_t firstBlock;
};

namespace {

__device__ __forceinline__ bool finite(float value) { return fabsf(value) < INFINITY; }

}  // namespace

/// A flag for each block: 1 where one of its values is infinite or NaN.
__global__ void findNonFinite(TensorBatch<CheckedTensor> batch, int32_t* flags) {
  constexpr int V = kWide<float>;
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const CheckedTensor t = batch.tensors[tensorOf(batch, block)];
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, addressOf(t.data) % 16 == 0);
  bool good = true;
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    const Pack<V> values = load<V>(t.data + at);
#pragma unroll
    for (int i = 0; i < V; ++i) good = good && finite(values[i]);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) good = good && finite(t.data[at]);
  const int found = sumOfBlock(good ? 0 : 1);
  if (thread == 0) flags[block] = found != 0;
}

/// One block.
__global__ void noteNonFinite(const int32_t* flags, int64_t count, float* state) {
  const int thread = static_cast<int>(threadIdx.x);
  bool any = false;
  for (int64_t i = thread; i < count; i += kItemThreads) any = any || flags[i] != 0;
  const int found = sumOfBlock(any ? 1 : 0);
  if (thread == 0) state[2] = found != 0 ? 1.0f : 0.0f;
}

__global__ void updateLossScale(float* state, float growth, float backoff, float interval) {
  const float steps = state[1] + 1;
  if (state[2] != 0) {
    state[0] = fmaxf(state[0] * backoff, 1.0f);
    state[1] = 0;
  } else if (steps >= interval) {
    state[0] = fminf(state[0] * growth, 0x1p24f);
    state[1] = 0;
  } else {
    state[1] = steps;
  }
}

void run(const op::CheckFinite& o, Context& context) {
  using Gradient = op::CheckFinite::Gradient;
  int64_t total = 0;
  for (const Gradient& gradient : o.gradients) total += blocksOf(gradient.count);
  const auto scratch = context.scratch(static_cast<size_t>(std::max<int64_t>(1, total)) * sizeof(int32_t));
  auto* const flags = static_cast<int32_t*>(scratch->data);
  const auto make = [](const Gradient& gradient, int32_t firstBlock) {
    return CheckedTensor{gradient.data, gradient.count, firstBlock};
  };
  int64_t done = 0;
  forBatches<CheckedTensor>(o.gradients, make, [&](const TensorBatch<CheckedTensor>& batch, int64_t blocks) {
    launch(findNonFinite, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch,
           flags + done);
    done += blocks;
  });
  launchTasks(context, 1, noteNonFinite, flags, total, o.state);
}

void run(const op::UpdateLossScale& o, Context& context) {
  launch(updateLossScale, dim3(1), dim3(1), 0, context.stream, o.state, o.growth, o.backoff, o.interval);
}

}  // namespace kn::cuda
