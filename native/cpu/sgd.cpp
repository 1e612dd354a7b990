#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

void step(const op::SgdParameter& p, int64_t begin, int64_t end, float momentum, float learningRate, float unscale) {
  const float* __restrict gradient = p.gradient;
  float* __restrict weight = p.w;
  float* __restrict velocity = p.momentum;
  for (int64_t i = begin; i < end; ++i) {
    velocity[i] = momentum * velocity[i] + (unscale * gradient[i] + p.weightDecay * weight[i]);
    weight[i] -= learningRate * velocity[i];
  }
}

}  // namespace

/// Cuts all parameters, laid end to end, into equal shares: a network has many small ones beside a few large ones.
void run(const op::Sgd& o) {
  if (o.lossScale && o.lossScale[2] != 0) return;
  const float unscale = o.lossScale ? 1 / o.lossScale[0] : 1;
  constexpr int64_t grain = 1 << 14;
  std::vector<int64_t> ends;
  int64_t total = 0;
  for (const op::SgdParameter& p : o.parameters) ends.push_back(total += p.count);
  const float learningRate = *o.learningRate;
  parallelRanges(total, grain, [&](int64_t begin, int64_t end) {
    size_t i = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++i) {
      const op::SgdParameter& p = o.parameters[i];
      const int64_t start = ends[i] - p.count;
      step(p, begin - start, std::min(end, ends[i]) - start, o.momentum, learningRate,
           unscale);
      begin = std::min(end, ends[i]);
    }
  });
}

void run(const op::CheckFinite& o) {
  constexpr int64_t grain = 1 << 14;
  std::atomic<bool> finite = true;
  for (const op::CheckFinite::Gradient& gradient : o.gradients) {
    parallelRanges(gradient.count, grain, [&](int64_t begin, int64_t end) {
      // A sum of products with zero is NaN where any value isn't finite, and is vectorised.
      float sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += gradient.data[i] * 0.0F;
      if (std::isnan(sum)) finite = false;
    });
  }
  o.state[2] = finite ? 0 : 1;
}

void run(const op::UpdateLossScale& o) {
  float& scale = o.state[0];
  float& steps = o.state[1];
  if (o.state[2] != 0) {
    scale = std::max(scale * o.backoff, 1.0F);
    steps = 0;
  } else if (++steps >= o.interval) {
    scale = std::min(scale * o.growth, 0x1p24F);
    steps = 0;
  }
}

}  // namespace kn::cpu
