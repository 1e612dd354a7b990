#include "kernels.h"
#include "tensor_list.h"

namespace kn::cpu {
namespace {

struct Factors {
  float momentum, learningRate, unscale;
};

template <bool nesterov>
void step(const op::SgdParameter& p, int64_t begin, int64_t end, const Factors& factors) {
  const auto [momentum, rate, unscale] = factors;
  const float* __restrict gradient = p.gradient;
  float* __restrict weight = p.w;
  float* __restrict velocity = p.momentum;
  const float learningRate = rate * p.rateFactor;
  for (int64_t i = begin; i < end; ++i) {
    const float slope = unscale * gradient[i] + p.weightDecay * weight[i];
    velocity[i] = momentum * velocity[i] + slope;
    weight[i] -= learningRate * (nesterov ? slope + momentum * velocity[i] : velocity[i]);
  }
}

}  // namespace

void run(const op::Sgd& o, Context&) {
  if (o.lossScale && o.lossScale[2] != 0) return;
  const Factors factors{o.momentum, *o.learningRate, o.lossScale ? 1 / o.lossScale[0] : 1};
  const auto update = o.nesterov ? step<true> : step<false>;
  forTensors(o.parameters,
             [&](const op::SgdParameter& p, int64_t begin, int64_t end, int64_t) { update(p, begin, end, factors); });
}

}  // namespace kn::cpu
