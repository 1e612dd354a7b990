#pragma once
#include "philox.h"
#include "../runtime/tensor.h"

namespace kn {

/// State [3] (int32) of a generator and the number of the draw within a step.
struct RandomSource {
  Tensor state;
  uint32_t stream = 0;
};

}  // namespace kn
