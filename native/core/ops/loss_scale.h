#pragma once
#include <vector>

#include "views.h"

namespace kn::op {

/// state[0]: the factor on the loss; state[1]: steps since it changed; state[2]: 1 where a gradient of this step isn't
/// finite, so that the step is left out.
using LossScale = float*;
/// Writes state[2].
struct CheckFinite {
  struct Gradient {
    const float* data;
    int64_t count;
  };
  std::vector<Gradient> gradients;
  LossScale state;
};
/// After a step: factor·backoff where it was left out, factor·growth after `interval` good ones; within [1, 2^24].
struct UpdateLossScale {
  LossScale state;
  float growth, backoff, interval;
};

}  // namespace kn::op

namespace kn {

constexpr int64_t kLossScaleState = 3;  ///< values

void checkFinite(const std::vector<Tensor>& gradients, const Tensor& lossScale);
void updateLossScale(const Tensor& lossScale, double growth, double backoff, int64_t interval);

}  // namespace kn
