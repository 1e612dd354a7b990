#pragma once
#include "../../core/ops/conv2d.h"

/// Convolutions of any filter and stride as matrix products: an output pixel's row has the values that its filter's
/// taps see. For processors with AVX-512, which oneDNN 2's kernels for layouts of eight channels leave unused.
namespace kn::cpu {

/// Whether a problem can be taken, and gains.
bool loweredPays(const op::Act& x, const op::Filter& w, const op::ConvShape& shape);

void loweredForward(const op::Conv2d&);
void loweredBackwardData(const op::Conv2dBackwardData&);
void loweredBackwardWeights(const op::Conv2dBackwardWeights&);

}  // namespace kn::cpu
