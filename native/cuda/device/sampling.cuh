#pragma once
#include "gaussian.cuh"
#include "gradient.cuh"

/// Virtual samples of rectified Gaussians, and their gradient.
namespace kn::cuda {

/// How virtual samples, one a split, are cut: as planes whose rows are four pixels, for which one call of the generator
/// gives the values of a channel.
struct SampleCut {
  Planes quads;
  int64_t pixels;
  int64_t firstPixel;  ///< of the tensor, where the virtual samples begin
};

constexpr Cut kQuadCut{1, 4, 0};

inline int64_t quadsOf(const op::Act& y) { return ceilDivide(y.pixels(), 4); }

/// Of the samples behind the `real` ones, for blocks of the same shape as those of `like`.
inline SampleCut samplesBehind(const Planes& like, int64_t real, const op::Act& y) {
  return {planesBehind(like, 0, quadsOf(y), kQuadCut), y.pixels(), real * y.pixels()};
}

/// y = relu(z·sqrt(var) + mean). z comes from the generator, or from `noise` where it isn't null.
template <int V, class T>
__device__ __forceinline__ void sampleQuads(const SampleCut& cut, const Place& place, const float* mean,
                                            const float* var, const Gaussian& gaussian, const T* noise, T* y) {
  const int64_t channels = cut.quads.channels;
  const Pack<V> center = loadVector<V>(mean, place.cell);
  Pack<V> std = loadVector<V>(var, place.cell);
#pragma unroll
  for (int i = 0; i < V; ++i) std[i] = sqrtf(std[i]);
  for (int64_t quad = place.begin + place.threadRow; quad < place.end; quad += cut.quads.threadRows) {
    const int64_t pixel = quad * 4, valid = cut.pixels - pixel;
    const int64_t at = (place.split * cut.pixels + pixel) * channels + place.channel;
    Pack<V> z[4];
    if (noise) {
#pragma unroll
      for (int k = 0; k < 4; ++k) z[k] = k < valid ? load<V>(noise + at + k * channels) : broadcast<V>(0);
    } else {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const Pack<4> values = gaussian(quad, place.cell + i);
#pragma unroll
        for (int k = 0; k < 4; ++k) z[k][i] = values[k];
      }
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const float x = fmaf(z[k][i], std[i], center[i]);
        // Not fmaxf: NaN has to stay.
        z[k][i] = x < 0 ? 0 : x;
      }
      if (k < valid) store<V>(y + cut.firstPixel * channels + at + k * channels, z[k]);
    }
  }
}

/// The sums of g and g·(y - mean) over the block's chunk of virtual samples, g being dy where y isn't cut; complete
/// where `place.leads()`. All threads of the block must call it.
template <int V, class T>
__device__ __forceinline__ void sampleSums(const Planes& p, const Place& place, const T* y, const T* dy,
                                           const float* mean, Pack<V> (&sums)[2]) {
  const Pack<V> center = loadVector<V>(mean, place.cell);
  sums[0] = sums[1] = broadcast<V>(0);
  walk<2>(
      p, place,
      [&](int64_t at) {
        return RowPair<V>{load<V>(y + at), load<V>(dy + at)};
      },
      [&](int64_t, const RowPair<V>& row) {
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const float g = row.x[i] > 0 ? row.dy[i] : 0;
          sums[0][i] += g;
          sums[1][i] = fmaf(g, row.x[i] - center[i], sums[1][i]);
        }
      });
  sumLanes(p, sums);
}

/// The gradient of a Gaussian's variance from the sum of g·(y - mean): z is recovered from the output.
__device__ __forceinline__ double varianceGradient(double centered, float var) {
  return var > 0 ? centered / (2 * static_cast<double>(var)) : 0;
}

/// Adds what a member of a team has of the sums of a cell.
__device__ __forceinline__ void addParts(const GradientParts& parts, const Planes& p, const Team& team, int64_t cell,
                                         double& g, double& gx) {
  const int64_t first = cell * p.chunks;
  for (int64_t i = team.member(); i < p.chunks; i += team.size) {
    g += parts.g[first + i];
    gx += parts.gx[first + i];
  }
}

}  // namespace kn::cuda
