#include <cmath>

#include "grid.cuh"
#include "kernels.h"

/// All parameters go in one launch, or in a few: a network has many small ones beside a few large ones.
namespace kn::cuda {
namespace {

constexpr int64_t kChunk = 4096;  ///< values of a block

}  // namespace

/// Tensors as an argument of a kernel; all arguments together may take 4 KB.
template <class Tensor>
struct TensorBatch {
  static constexpr int kMost = 4000 / sizeof(Tensor);
  Tensor tensors[kMost];
  int count;
};

struct SgdTensor {
  float *w, *momentum;
  const float* gradient;
  int64_t count;
  float weightDecay;
  int32_t firstBlock;
};

struct CheckedTensor {
  const float* data;
  int64_t count;
  int32_t firstBlock;
};

namespace {

template <class Tensor>
__device__ __forceinline__ int tensorOf(const TensorBatch<Tensor>& batch, int block) {
  int low = 0, high = batch.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.tensors[middle].firstBlock <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// The values of a tensor that the block takes: packs of 16 bytes up to `packsEnd`, then single ones.
struct Chunk {
  int64_t begin, packsEnd, end;
};

__device__ __forceinline__ Chunk chunkOf(int64_t block, int64_t count, bool aligned) {
  const int64_t begin = block * kChunk;
  const int64_t end = begin + kChunk < count ? begin + kChunk : count;
  return {begin, aligned ? begin + (end - begin) / kWide<float> * kWide<float> : begin, end};
}

__device__ __forceinline__ uintptr_t addressOf(const void* data) { return reinterpret_cast<uintptr_t>(data); }

struct SgdFactors {
  float momentum, learningRate, unscale;
};

template <int V>
__device__ __forceinline__ void step(const SgdTensor& t, int64_t at, const SgdFactors& factors) {
  const Pack<V> gradient = load<V>(t.gradient + at);
  Pack<V> velocity = load<V>(t.momentum + at), weight = load<V>(t.w + at);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float slope = fmaf(t.weightDecay, weight[i], factors.unscale * gradient[i]);
    velocity[i] = fmaf(factors.momentum, velocity[i], slope);
    weight[i] = fmaf(-factors.learningRate, velocity[i], weight[i]);
  }
  store<V>(t.momentum + at, velocity);
  store<V>(t.w + at, weight);
}

__device__ __forceinline__ bool finite(float value) { return fabsf(value) < INFINITY; }

/// Whether any thread of the block says so, for thread 0. All of them must call it.
__device__ __forceinline__ bool anyOfBlock(bool mine) {
  KN_SHARED(int, found, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  found[thread] = mine ? 1 : 0;
  __syncthreads();
  for (int half = kItemThreads / 2; half > 0; half /= 2) {
    if (thread < half) found[thread] |= found[thread + half];
    __syncthreads();
  }
  return found[0] != 0;
}

}  // namespace

/// 20 bytes a weight.
__global__ void sgdStep(TensorBatch<SgdTensor> batch, const float* learningRate, float momentum,
                        const float* lossScale) {
  if (lossScale && lossScale[2] != 0) return;
  constexpr int V = kWide<float>;
  const SgdFactors factors{momentum, *learningRate, lossScale ? 1 / lossScale[0] : 1.0f};
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const SgdTensor t = batch.tensors[tensorOf(batch, block)];
  const bool aligned = (addressOf(t.w) | addressOf(t.momentum) | addressOf(t.gradient)) % 16 == 0;
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, aligned);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) step<V>(t, at, factors);
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) step<1>(t, at, factors);
}

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
  const bool found = anyOfBlock(!good);
  if (thread == 0) flags[block] = found;
}

/// One block.
__global__ void noteNonFinite(const int32_t* flags, int64_t count, float* state) {
  const int thread = static_cast<int>(threadIdx.x);
  bool any = false;
  for (int64_t i = thread; i < count; i += kItemThreads) any = any || flags[i] != 0;
  const bool found = anyOfBlock(any);
  if (thread == 0) state[2] = found ? 1.0f : 0.0f;
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

namespace {

int64_t blocksOf(int64_t count) { return ceilDivide(count, kChunk); }

/// Calls launchBatch(batch, blocks) for as many tensors at a time as fit; `make` gives a tensor its first block.
template <class Tensor, class Items, class Make, class LaunchBatch>
void forBatches(const Items& items, const Make& make, const LaunchBatch& launchBatch) {
  for (size_t first = 0; first < items.size();) {
    TensorBatch<Tensor> batch{};
    int64_t blocks = 0;
    for (; batch.count < TensorBatch<Tensor>::kMost && first < items.size(); ++first) {
      batch.tensors[batch.count++] = make(items[first], static_cast<int32_t>(blocks));
      blocks += blocksOf(items[first].count);
    }
    launchBatch(batch, blocks);
  }
}

}  // namespace

void run(const op::Sgd& o, Context& context) {
  const auto make = [](const op::SgdParameter& p, int32_t firstBlock) {
    return SgdTensor{p.w, p.momentum, p.gradient, p.count, p.weightDecay, firstBlock};
  };
  forBatches<SgdTensor>(o.parameters, make, [&](const TensorBatch<SgdTensor>& batch, int64_t blocks) {
    launch(sgdStep, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, o.learningRate,
           o.momentum, o.lossScale);
  });
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
