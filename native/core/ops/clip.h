#pragma once
#include <vector>

#include "views.h"

namespace kn::op {

struct ClippedGradient {
  float* values;
  int32_t count;
};
/// norm = the root of the sum of all squares; where it is finite and above maxNorm, all gradients are multiplied by
/// maxNorm / norm. With a loss scale the norm is that of the gradients divided by it.
struct ClipNorm {
  std::vector<ClippedGradient> gradients;
  float* norm;
  float maxNorm;
  const float* lossScale;  ///< LossScale; may be null
};
/// Every value within [-limit, limit], or with a loss scale within limits multiplied by it. NaN stays.
struct ClipValue {
  std::vector<ClippedGradient> gradients;
  float limit;
  const float* lossScale;  ///< LossScale; may be null
};

}  // namespace kn::op

namespace kn {

/// @return the norm before, [1]. `lossScale` (may be empty): state of a loss scale that the gradients were multiplied
/// by.
Tensor clipNorm(const std::vector<Tensor>& gradients, double maxNorm, const Tensor& lossScale);
void clipValue(const std::vector<Tensor>& gradients, double limit, const Tensor& lossScale);

}  // namespace kn
