#pragma once
#include "../runtime/context.h"
#include "../../core/ops/moments.h"
#include "planes.cuh"

/// Normalization as an affine map of each channel, with the statistics of its split.
namespace kn::cuda {

/// What a layer normalizes with, as kernels take it. gamma and beta [C] may be null.
struct Norm {
  const float *mean, *var;
  const float *gamma, *beta;
  float epsilon;
  int perGroup;  ///< neighbouring channels that share a mean and a variance: 1 except in group normalization
  bool relu;

  /// Where the statistics of a channel lie.
  __device__ __forceinline__ int64_t index(const Planes& p, int64_t split, int64_t channel) const {
    if (perGroup == 1) return split * p.channels + channel;
    const int groups = static_cast<int>(p.channels) / perGroup;
    return split * groups + static_cast<int>(channel) / perGroup;
  }
};

__device__ __forceinline__ float reciprocalStd(float var, float epsilon) { return 1.0f / sqrtf(var + epsilon); }

/// The entries for a thread's channels of a vector that is indexed as the statistics; zeros where it is null.
template <int V>
__device__ __forceinline__ Pack<V> statistics(const float* values, const Norm& norm, const Planes& p,
                                              const Place& place) {
  if (!values || norm.perGroup == 1) return loadVector<V>(values, place.cell);
  int64_t at = norm.index(p, place.split, place.channel);
  int inGroup = static_cast<int>(place.channel) % norm.perGroup;
  Pack<V> pack;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    pack[i] = values[at];
    if (++inGroup == norm.perGroup) {
      inGroup = 0;
      ++at;
    }
  }
  return pack;
}

/// (x - center)·scale + shift
template <int V>
struct Affine {
  Pack<V> center, scale, shift;
  __device__ __forceinline__ float operator()(float x, int i) const { return fmaf(x - center[i], scale[i], shift[i]); }
};

/// The map of a thread's channels.
template <int V>
__device__ __forceinline__ Affine<V> affineOf(const Norm& norm, const Planes& p, const Place& place) {
  Affine<V> affine{statistics<V>(norm.mean, norm, p, place), loadVector<V>(norm.gamma, place.channel, 1),
                   loadVector<V>(norm.beta, place.channel)};
  const Pack<V> var = statistics<V>(norm.var, norm, p, place);
#pragma unroll
  for (int i = 0; i < V; ++i) affine.scale[i] *= reciprocalStd(var[i], norm.epsilon);
  return affine;
}

/// y = affine(x), then ReLU where asked, for the rows of a thread.
template <int V, class T>
__device__ __forceinline__ void normalizeRows(const Planes& p, const Place& place, const T* x, T* y,
                                              const Affine<V>& affine, bool relu) {
  walk<4>(
      p, place, [&](int64_t at) { return load<V>(x + at); },
      [&](int64_t at, Pack<V> v) {
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float out = affine(v[i], i);
          // Not fmaxf: NaN has to stay.
          v[i] = relu && out < 0 ? 0 : out;
        }
        store<V>(y + at, v);
      });
}

/// Enqueues y = x normalized, with statistics of every split, toward which running averages move.
void applyNorm(const op::Act& x, const op::Act& y, int64_t splits, const Norm& norm, Context& context,
               const op::UpdateRunning& running = {});

}  // namespace kn::cuda
