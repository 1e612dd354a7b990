#include "grid.cuh"
#include "kernels.h"
#include "tensor_batch.cuh"

namespace kn::cuda {

struct AveragedItem {
  float* average;
  const float* value;
  float scale;
  int32_t count;
  int32_t firstBlock;
};

/// 12 bytes a weight.
__global__ void updateAverage(TensorBatch<AveragedItem> batch, const int32_t* updates, float share, bool warmUp) {
  constexpr int V = kWide<float>;
  const float take = averageShare(share, warmUp, *updates);
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const AveragedItem t = batch.tensors[tensorOf(batch, block)];
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, (addressOf(t.average) | addressOf(t.value)) % 16 == 0);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    const Pack<V> value = load<V>(t.value + at);
    Pack<V> average = load<V>(t.average + at);
#pragma unroll
    for (int i = 0; i < V; ++i) average[i] = fmaf(take, fmaf(t.scale, value[i], -average[i]), average[i]);
    store<V>(t.average + at, average);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) {
    t.average[at] = fmaf(take, fmaf(t.scale, t.value[at], -t.average[at]), t.average[at]);
  }
}

void run(const op::Average& o, Context& context) {
  const auto make = [](const op::AveragedTensor& t, int32_t firstBlock) {
    return AveragedItem{t.average, t.value, t.scale, t.count, firstBlock};
  };
  forBatches<AveragedItem>(o.tensors, make, [&](const TensorBatch<AveragedItem>& batch, int64_t blocks) {
    launch(updateAverage, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, o.updates,
           o.share, o.warmUp);
  });
}

}  // namespace kn::cuda
