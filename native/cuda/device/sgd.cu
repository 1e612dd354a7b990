#include "grid.cuh"
#include "kernels.h"
#include "tensor_batch.cuh"

namespace kn::cuda {

struct SgdTensor {
  float *w, *momentum;
  const float* gradient;
  void* rounded;
  int32_t count;
  float weightDecay, rateFactor;
  int32_t firstBlock;
};

namespace {

struct SgdFactors {
  float momentum, learningRate, unscale;
  bool nesterov;
  DType roundedType;
};

template <int V>
__device__ __forceinline__ void step(const SgdTensor& t, int64_t at, const SgdFactors& factors) {
  const Pack<V> gradient = load<V>(t.gradient + at);
  Pack<V> velocity = load<V>(t.momentum + at), weight = load<V>(t.w + at);
  const float learningRate = factors.learningRate * t.rateFactor;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float slope = fmaf(t.weightDecay, weight[i], factors.unscale * gradient[i]);
    velocity[i] = fmaf(factors.momentum, velocity[i], slope);
    const float direction = factors.nesterov ? fmaf(factors.momentum, velocity[i], slope) : velocity[i];
    weight[i] = fmaf(-learningRate, direction, weight[i]);
  }
  store<V>(t.momentum + at, velocity);
  store<V>(t.w + at, weight);
  storeRounded<V>(t.rounded, factors.roundedType, at, weight);
}

}  // namespace

/// 20 bytes a weight, 22 where it has a rounded copy.
__global__ void sgdStep(TensorBatch<SgdTensor> batch, const float* learningRate, float momentum, bool nesterov,
                        const float* lossScale, DType roundedType) {
  if (lossScale && lossScale[2] != 0) return;
  constexpr int V = kWide<float>;
  const SgdFactors factors{momentum, *learningRate, lossScale ? 1 / lossScale[0] : 1.0f, nesterov, roundedType};
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const SgdTensor t = batch.tensors[tensorOf(batch, block)];
  const bool aligned = (addressOf(t.w) | addressOf(t.momentum) | addressOf(t.gradient)) % 16 == 0;
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, aligned);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) step<V>(t, at, factors);
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) step<1>(t, at, factors);
}

void run(const op::Sgd& o, Context& context) {
  const auto make = [](const op::SgdParameter& p, int32_t firstBlock) {
    return SgdTensor{p.w, p.momentum, p.gradient, p.rounded, p.count, p.weightDecay, p.rateFactor, firstBlock};
  };
  forBatches<SgdTensor>(o.parameters, make, [&](const TensorBatch<SgdTensor>& batch, int64_t blocks) {
    launch(sgdStep, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, o.learningRate,
           o.momentum, o.nesterov, o.lossScale, o.roundedType);
  });
}

}  // namespace kn::cuda
