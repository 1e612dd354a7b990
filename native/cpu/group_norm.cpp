#include <cmath>

#include "kernels.h"
#include "planes.h"

namespace kn::cpu {
namespace {

/// The map of eight channels from the statistics of their sample's groups.
Affine8 affineOf(const float* mean, const float* var, const float* gamma, const float* beta, float epsilon,
                 int64_t perGroup, int64_t channel, int valid) {
  Affine8 affine;
  for (int i = 0; i < valid; ++i) {
    const int64_t g = (channel + i) / perGroup;
    affine.center[i] = mean[g];
    affine.scale[i] = (gamma ? gamma[channel + i] : 1) / std::sqrt(var[g] + epsilon);
    affine.shift[i] = beta ? beta[channel + i] : 0;
  }
  return affine;
}

}  // namespace

void run(const op::GroupNorm& o, Context&) {
  const int64_t lanes = groupCount(o.x.c), perGroup = o.x.c / o.groups;
  parallelFor(o.x.n, [&](int64_t n) {
    float *mean = o.mean + n * o.groups, *var = o.var + n * o.groups;
    std::vector<Moments8> channels(lanes);
    for (int64_t l = 0; l < lanes; ++l) channels[l] = momentsOf(o.x, {n, l, n, n + 1, 0, 0});
    const double pixels = static_cast<double>(o.x.pixels());
    for (int64_t g = 0; g < o.groups; ++g) {
      double center = 0, m2 = 0;
      const auto each = [&](const auto& body) {
        for (int64_t c = g * perGroup; c < (g + 1) * perGroup; ++c) body(channels[c / kLanes], c % kLanes);
      };
      each([&](const Moments8& m, int64_t i) { center += m.mean[i] / perGroup; });
      each([&](const Moments8& m, int64_t i) { m2 += m.m2[i] + pixels * (m.mean[i] - center) * (m.mean[i] - center); });
      mean[g] = static_cast<float>(center);
      var[g] = static_cast<float>(m2 / (pixels * perGroup));
    }
    for (int64_t l = 0; l < lanes; ++l) {
      const Affine8 affine =
          affineOf(mean, var, o.gamma, o.beta, o.epsilon, perGroup, l * kLanes, validLanes(o.x.c, l));
      applyPlane(plane(o.x, n, l), plane(o.y, n, l), affine, o.relu);
    }
  });
}

void run(const op::GroupNormBackward& o, Context&) {
  const int64_t lanes = groupCount(o.x.c), perGroup = o.x.c / o.groups;
  const double count = static_cast<double>(perGroup * o.x.pixels());
  AffineSums total{std::vector<Sums8>(o.x.n * lanes)};
  std::vector<float> rstd(o.x.n * o.x.c);
  parallelFor(o.x.n, [&](int64_t n) {
    const float *mean = o.mean + n * o.groups, *var = o.var + n * o.groups;
    const auto affine = [&](int64_t l) {
      return affineOf(mean, var, o.gamma, o.beta, o.epsilon, perGroup, l * kLanes, validLanes(o.x.c, l));
    };
    Sums8* sums = &total.cells[n * lanes];
    for (int64_t l = 0; l < lanes; ++l) gradientSums(plane(o.x, n, l), plane(o.dy, n, l), affine(l), o.relu, sums[l]);
    // Of sum(gamma·g) and sum(gamma·g·(x - mean)) over the channels of a group.
    std::vector<float> slope(o.groups), offset(o.groups);
    for (int64_t g = 0; g < o.groups; ++g) {
      double first = 0, second = 0;
      for (int64_t c = g * perGroup; c < (g + 1) * perGroup; ++c) {
        const double gamma = o.gamma ? o.gamma[c] : 1;
        first += gamma * sums[c / kLanes].g[c % kLanes];
        second += gamma * sums[c / kLanes].gx[c % kLanes];
      }
      const double r = 1 / std::sqrt(static_cast<double>(var[g]) + o.epsilon);
      slope[g] = static_cast<float>(-r * r * r * second / count);
      offset[g] = static_cast<float>(-r * first / count);
      for (int64_t c = g * perGroup; c < (g + 1) * perGroup; ++c) rstd[n * o.x.c + c] = static_cast<float>(r);
    }
    for (int64_t l = 0; l < lanes; ++l) {
      Gradient8 gradient;
      for (int i = 0; i < validLanes(o.x.c, l); ++i) {
        gradient.slope[i] = slope[(l * kLanes + i) / perGroup];
        gradient.offset[i] = offset[(l * kLanes + i) / perGroup];
      }
      const Plane x = plane(o.x, n, l);
      gradientPlane(x, plane(o.dy, n, l), plane(o.dx, n, l),
                    o.add.data ? o.add.values() + (x.data - o.x.values()) : nullptr, affine(l), gradient, o.relu);
    }
  });
  total.finish(o.x.n, o.x.c, rstd, o.dgamma, o.dbeta);
}

}  // namespace kn::cpu
