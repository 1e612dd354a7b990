#include "grid.cuh"
#include "kernels.h"
#include "tensor_batch.cuh"

namespace kn::cuda {

struct AdamTensor {
  float *w, *first, *second;
  const float* gradient;
  void* rounded;
  int32_t count;
  float weightDecay, rateFactor;
  int32_t firstBlock;
};

struct AdamFactors {
  float keep1, take1, keep2, take2, epsilon;
  bool decoupled;
  DType roundedType;
};

namespace {

/// What the device knows of the step.
struct AdamStep {
  float learningRate, unscale;
  AdamCorrection correction;
};

template <int V>
__device__ __forceinline__ void step(const AdamTensor& t, int64_t at, const AdamFactors& f, const AdamStep& s) {
  const Pack<V> gradient = load<V>(t.gradient + at);
  Pack<V> first = load<V>(t.first + at), second = load<V>(t.second + at), weight = load<V>(t.w + at);
  const float penalty = f.decoupled ? 0.0f : t.weightDecay;
  const float kept = f.decoupled ? fmaf(-s.learningRate * t.rateFactor, t.weightDecay, 1.0f) : 1.0f;
  const float rate = s.correction.rate * t.rateFactor;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float slope = fmaf(penalty, weight[i], s.unscale * gradient[i]);
    first[i] = fmaf(f.keep1, first[i], f.take1 * slope);
    second[i] = fmaf(f.keep2, second[i], f.take2 * slope * slope);
    const float change = rate * first[i] / fmaf(sqrtf(second[i]), s.correction.second, f.epsilon);
    weight[i] = fmaf(kept, weight[i], -change);
  }
  store<V>(t.first + at, first);
  store<V>(t.second + at, second);
  store<V>(t.w + at, weight);
  storeRounded<V>(t.rounded, f.roundedType, at, weight);
}

}  // namespace

/// One thread: what all of the step's values have in common is computed once, in double.
__global__ void adamCount(int32_t* steps, const float* learningRate, double beta1, double beta2, const float* lossScale,
                          AdamCorrection* correction) {
  if (lossScale && lossScale[2] != 0) return;
  *correction = adamCorrection(*learningRate, beta1, beta2, ++*steps);
}

/// 28 bytes a weight, 30 where it has a rounded copy.
__global__ void adamStep(TensorBatch<AdamTensor> batch, AdamFactors factors, const float* learningRate,
                         const AdamCorrection* correction, const float* lossScale) {
  if (lossScale && lossScale[2] != 0) return;
  constexpr int V = kWide<float>;
  const AdamStep common{*learningRate, lossScale ? 1 / lossScale[0] : 1.0f, *correction};
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const AdamTensor t = batch.tensors[tensorOf(batch, block)];
  const uintptr_t addresses = addressOf(t.w) | addressOf(t.first) | addressOf(t.second) | addressOf(t.gradient);
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, addresses % 16 == 0);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) {
    step<V>(t, at, factors, common);
  }
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) step<1>(t, at, factors, common);
}

void run(const op::Adam& o, Context& context) {
  const auto scratch = context.scratch(sizeof(AdamCorrection));
  auto* const correction = static_cast<AdamCorrection*>(scratch->data);
  launch(adamCount, dim3(1), dim3(1), 0, context.stream, o.steps, o.learningRate, o.beta1, o.beta2, o.lossScale,
         correction);
  const AdamFactors factors{static_cast<float>(o.beta1),
                            static_cast<float>(1 - o.beta1),
                            static_cast<float>(o.beta2),
                            static_cast<float>(1 - o.beta2),
                            o.epsilon,
                            o.decoupled,
                            o.roundedType};
  const auto make = [](const op::AdamParameter& p, int32_t firstBlock) {
    return AdamTensor{p.w, p.first, p.second, p.gradient, p.rounded, p.count, p.weightDecay, p.rateFactor, firstBlock};
  };
  forBatches<AdamTensor>(o.parameters, make, [&](const TensorBatch<AdamTensor>& batch, int64_t blocks) {
    launch(adamStep, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch, factors,
           o.learningRate, correction, o.lossScale);
  });
}

}  // namespace kn::cuda
