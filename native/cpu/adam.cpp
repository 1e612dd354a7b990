#include <cmath>

#include "kernels.h"
#include "tensor_list.h"

namespace kn::cpu {
namespace {

struct Factors {
  float keep1, take1, keep2, take2, learningRate, unscale, epsilon;
  AdamCorrection correction;
};

template <bool decoupled>
void step(const op::AdamParameter& p, int64_t begin, int64_t end, const Factors& f) {
  const float* __restrict gradient = p.gradient;
  float* __restrict weight = p.w;
  float* __restrict first = p.first;
  float* __restrict second = p.second;
  const float penalty = decoupled ? 0 : p.weightDecay;
  const float kept = decoupled ? 1 - f.learningRate * p.rateFactor * p.weightDecay : 1;
  const float rate = f.correction.rate * p.rateFactor;
  for (int64_t i = begin; i < end; ++i) {
    const float slope = f.unscale * gradient[i] + penalty * weight[i];
    first[i] = f.keep1 * first[i] + f.take1 * slope;
    second[i] = f.keep2 * second[i] + f.take2 * slope * slope;
    weight[i] = kept * weight[i] - rate * first[i] / (std::sqrt(second[i]) * f.correction.second + f.epsilon);
  }
}

}  // namespace

void run(const op::Adam& o, Context&) {
  if (o.lossScale && o.lossScale[2] != 0) return;
  const Factors factors{static_cast<float>(o.beta1),
                        static_cast<float>(1 - o.beta1),
                        static_cast<float>(o.beta2),
                        static_cast<float>(1 - o.beta2),
                        *o.learningRate,
                        o.lossScale ? 1 / o.lossScale[0] : 1,
                        o.epsilon,
                        adamCorrection(*o.learningRate, o.beta1, o.beta2, ++*o.steps)};
  const auto update = o.decoupled ? step<true> : step<false>;
  forTensors(o.parameters,
             [&](const op::AdamParameter& p, int64_t begin, int64_t end, int64_t) { update(p, begin, end, factors); });
}

}  // namespace kn::cpu
