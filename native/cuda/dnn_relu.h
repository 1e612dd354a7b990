#pragma once
#include "libraries.h"

namespace kn::cuda {

/// masked = dy where (x - mean)·rstd·gamma + beta > 0, else 0: the gradient before a normalization's ReLU.
void maskGradient(Context& context, const DnnBatchNorm& problem, const void* x, const void* dy, const float* gamma,
                  const float* beta, const float* mean, const float* rstd, void* masked);

}  // namespace kn::cuda
