#include "grid.cuh"
#include "kernels.h"
#include "../nvidia/libraries.h"

/// Batch normalization by cuDNN, the peer of ours. cuDNN 9 has no plan for it with a ReLU, so that is a pass of its
/// own.
namespace kn::cuda {

/// var = 1 / rstd^2 - epsilon; cuDNN hands out the reciprocal alone.
__global__ void varianceOfRstd(const float* rstd, float epsilon, int64_t channels, float* var) {
  for (int64_t c = firstItem(); c < channels; c += itemStep()) {
    var[c] = fmaxf(1.0F / (rstd[c] * rstd[c]) - epsilon, 0.0F);
  }
}

/// masked = dy where the normalized x is above 0: the gradient before the ReLU.
template <class T, int V>
__global__ void maskByNormalized(const T* x, const T* dy, const float* gamma, const float* beta, const float* mean,
                                 const float* rstd, T* masked, int64_t packs, int64_t channelPacks) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) {
    const int64_t channel = i % channelPacks * V;
    const Pack<V> value = load<V>(x + i * V);
    const Pack<V> center = loadFloats<V>(mean + channel), spread = loadFloats<V>(rstd + channel);
    const Pack<V> scale = loadFloats<V>(gamma + channel), shift = loadFloats<V>(beta + channel);
    Pack<V> gradient = load<V>(dy + i * V);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const float y = fmaf((value[j] - center[j]) * spread[j], scale[j], shift[j]);
      // Not y > 0: a NaN passes, as in the other ReLUs.
      if (y <= 0) gradient[j] = 0;
    }
    store<V>(masked + i * V, gradient);
  }
}

namespace {

DnnBatchNorm problemOf(const op::Act& x) { return {x.stored, x.n, x.c, x.h, x.w}; }

std::shared_ptr<Storage> maskedGradient(const op::DnnBatchNormBackward& o, Context& context) {
  auto masked = context.scratch(static_cast<size_t>(o.x.count()) * dtypeSize(o.x.stored));
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const int64_t channelPacks = o.x.c / V, packs = o.x.n * o.x.pixels() * channelPacks;
        launchItems(context, packs, maskByNormalized<T, V>, o.x.values<T>(), o.dy.values<T>(), o.gamma, o.beta, o.mean,
                    o.rstd, static_cast<T*>(masked->data), packs, channelPacks);
      },
      o.x.data, o.dy.data, o.gamma, o.beta, o.mean, o.rstd, masked->data);
  return masked;
}

}  // namespace

/// With ReLU 5 passes over an activation: cuDNN's 3 (or 2 where it keeps x on the chip) and the ReLU's 2.
void run(const op::DnnBatchNorm& o, Context& context) {
  context.libraries->batchNorm(context, problemOf(o.x), o.epsilon, o.x.data, o.gamma, o.beta, o.y.data, o.mean, o.rstd);
  launchItems(context, o.x.c, varianceOfRstd, o.rstd, o.epsilon, o.x.c, o.var);
  const op::Values values{o.y.data, o.y.count(), o.y.stored};
  if (o.relu) run(op::Relu{values, values}, context);
}

/// With ReLU 3 passes more than cuDNN's own.
void run(const op::DnnBatchNormBackward& o, Context& context) {
  std::shared_ptr<Storage> masked;
  if (o.relu) masked = maskedGradient(o, context);
  context.libraries->batchNormBackward(context, problemOf(o.x), o.x.data, masked ? masked->data : o.dy.data, o.gamma,
                                       o.mean, o.rstd, o.dx.data, o.dgamma, o.dbeta);
}

}  // namespace kn::cuda
