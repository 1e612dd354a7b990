#include "dnn_relu.h"
#include "grid.cuh"

namespace kn::cuda {

/// Reads x and dy once and writes once; cuDNN has no graph for it on most architectures. V divides the channels.
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

void maskGradient(Context& context, const DnnBatchNorm& o, const void* x, const void* dy, const float* gamma,
                  const float* beta, const float* mean, const float* rstd, void* masked) {
  forPacks(
      o.type, o.c,
      [&]<class T, int V>() {
        const int64_t channelPacks = o.c / V, packs = o.n * o.h * o.w * channelPacks;
        launchItems(context, packs, maskByNormalized<T, V>, static_cast<const T*>(x), static_cast<const T*>(dy), gamma,
                    beta, mean, rstd, static_cast<T*>(masked), packs, channelPacks);
      },
      x, dy, gamma, beta, mean, rstd, masked);
}

}  // namespace kn::cuda
