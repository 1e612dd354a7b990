#pragma once
#include "gaussian.h"
#include "planes.h"

/// Virtual samples of rectified Gaussians, and their gradient.
namespace kn::cpu {

/// y = relu(z·std + mean) for the pixels of one virtual sample; `noise` holds z in y's layout, or is null.
template <bool Full>
void samplePlane(const Plane& y, const float* noise, const Gaussian& gaussian, int64_t cell, Float8 mean, Float8 std) {
  if (noise) {
    for (int64_t i = 0, at = 0; i < y.pixels; ++i, at += y.stride) {
      store<Full>(y.data + at, relu(load<Full>(noise + at, y.valid) * std + mean), y.valid);
    }
    return;
  }
  for (int64_t quad = 0; quad * 4 < y.pixels; ++quad) {
    const auto z = gaussian(quad, cell);
    for (int64_t i = quad * 4, k = 0; i < y.pixels && k < 4; ++i, ++k) {
      store<Full>(y.data + i * y.stride, relu(z[k] * std + mean), y.valid);
    }
  }
}

/// The virtual samples `y` (one a split) of the rectified Gaussians.
inline void sampleSplit(const op::Act& y, const op::Act& noise, const Gaussian& gaussian, const float* mean,
                        const float* var, int64_t split, int64_t group) {
  const Plane p = plane(y, split, group);
  const int64_t at = split * y.c + group * kLanes;
  const Float8 m = loadVector(mean, at, p.valid), std = sqrt8(loadVector(var, at, p.valid));
  const float* z = noise.data ? plane(noise, split, group).data : nullptr;
  p.full() ? samplePlane<true>(p, z, gaussian, at, m, std) : samplePlane<false>(p, z, gaussian, at, m, std);
}

/// Gradients of mean and variance of a rectified Gaussian sample: z is recovered from the output where it isn't cut.
inline void sampleGradient(const op::Act& y, const op::Act& dy, int64_t split, int64_t group, const float* mean,
                           const float* var, double* dmean, double* dvar) {
  const Plane p = plane(y, split, group);
  const int64_t at = split * y.c + group * kLanes;
  Sums8 sums;  // of dy and dy·y where y > 0
  gradientSums(p, plane(dy, split, group), Affine8{Float8{}, broadcast(1), Float8{}}, true, sums);
  for (int i = 0; i < p.valid; ++i) {
    const double v = var[at + i], centered = sums.gx[i] - sums.g[i] * mean[at + i];
    dmean[at + i] = sums.g[i];
    dvar[at + i] = v > 0 ? centered / (2 * v) : 0;
  }
}

}  // namespace kn::cpu
