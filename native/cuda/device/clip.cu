#include "grid.cuh"
#include "kernels.h"
#include "tensor_batch.cuh"

namespace kn::cuda {

struct ClippedTensor {
  float* values;
  int32_t count;
  int32_t firstBlock;
};

namespace {

__device__ __forceinline__ double squareOf(float value) { return static_cast<double>(value) * value; }

__device__ __forceinline__ float within(float value, float limit) {
  return value > limit ? limit : value < -limit ? -limit : value;
}

/// Replaces the block's share of the values by change(value).
template <class Change>
__device__ __forceinline__ void changeValues(const TensorBatch<ClippedTensor>& batch, const Change& change) {
  constexpr int V = kWide<float>;
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const ClippedTensor t = batch.tensors[tensorOf(batch, block)];
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, addressOf(t.values) % 16 == 0);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    Pack<V> values = load<V>(t.values + at);
#pragma unroll
    for (int i = 0; i < V; ++i) values[i] = change(values[i]);
    store<V>(t.values + at, values);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) t.values[at] = change(t.values[at]);
}

}  // namespace

/// The sum of the squares of each block's values.
__global__ void sumSquares(TensorBatch<ClippedTensor> batch, double* sums) {
  constexpr int V = kWide<float>;
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const ClippedTensor t = batch.tensors[tensorOf(batch, block)];
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, addressOf(t.values) % 16 == 0);
  double sum = 0;
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    const Pack<V> values = load<V>(t.values + at);
#pragma unroll
    for (int i = 0; i < V; ++i) sum += squareOf(values[i]);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) sum += squareOf(t.values[at]);
  const double total = sumOfBlock(sum);
  if (thread == 0) sums[block] = total;
}

/// One block: the norm, and what gradients are to be multiplied by.
__global__ void clippingFactor(const double* sums, int64_t count, float maxNorm, const float* lossScale, float* norm,
                               float* factor) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int64_t i = thread; i < count; i += kItemThreads) sum += sums[i];
  const double total = sumOfBlock(sum);
  if (thread != 0) return;
  const double length = sqrt(total) / (lossScale ? static_cast<double>(lossScale[0]) : 1.0);
  *norm = static_cast<float>(length);
  const bool clips = length > maxNorm && length < static_cast<double>(INFINITY);
  *factor = clips ? static_cast<float>(maxNorm / length) : 1.0f;
}

__global__ void scaleGradients(TensorBatch<ClippedTensor> batch, const float* factor) {
  const float by = *factor;
  if (by == 1.0f) return;
  changeValues(batch, [by](float value) { return value * by; });
}

__global__ void clipValues(TensorBatch<ClippedTensor> batch, float limit, const float* lossScale) {
  const float most = lossScale ? limit * lossScale[0] : limit;
  changeValues(batch, [most](float value) { return within(value, most); });
}

namespace {

ClippedTensor clipped(const op::ClippedGradient& gradient, int32_t firstBlock) {
  return {gradient.values, gradient.count, firstBlock};
}

}  // namespace

void run(const op::ClipNorm& o, Context& context) {
  int64_t total = 0;
  for (const op::ClippedGradient& gradient : o.gradients) total += blocksOf(gradient.count);
  const auto scratch = context.scratch(static_cast<size_t>(total + 1) * sizeof(double));
  auto* const sums = static_cast<double*>(scratch->data);
  auto* const factor = reinterpret_cast<float*>(sums + total);
  int64_t done = 0;
  forBatches<ClippedTensor>(o.gradients, clipped, [&](const TensorBatch<ClippedTensor>& batch, int64_t blocks) {
    launch(sumSquares, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, sums + done);
    done += blocks;
  });
  launchTasks(context, 1, clippingFactor, sums, total, o.maxNorm, o.lossScale, o.norm, factor);
  forBatches<ClippedTensor>(o.gradients, clipped, [&](const TensorBatch<ClippedTensor>& batch, int64_t blocks) {
    launch(scaleGradients, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, factor);
  });
}

void run(const op::ClipValue& o, Context& context) {
  forBatches<ClippedTensor>(o.gradients, clipped, [&](const TensorBatch<ClippedTensor>& batch, int64_t blocks) {
    launch(clipValues, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, o.limit,
           o.lossScale);
  });
}

}  // namespace kn::cuda
