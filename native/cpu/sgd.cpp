#include <algorithm>
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
void run(const op::Sgd& o, Context&) {
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
      step(p, begin - start, std::min(end, ends[i]) - start, o.momentum, learningRate, unscale);
      begin = std::min(end, ends[i]);
    }
  });
}

}  // namespace kn::cpu
