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

/// Whether, of a problem that this or Winograd's way can take, so few pixels come that putting the filter in order or
/// transforming it would take longer than the products: it is read once then, as it lies, and threads share outputs in
/// the place of pixels.
bool inPlacePays(const op::Conv2d&);
void inPlaceForward(const op::Conv2d&);

}  // namespace kn::cpu
