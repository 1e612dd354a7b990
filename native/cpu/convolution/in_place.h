#pragma once
#include "../../core/ops/conv2d.h"

/// Convolutions with so few pixels that to put the filter in order, or to transform it, would take longer than the
/// products: as matrix products with the filter as it lies, which is read or written once; threads share its channels
/// in the place of pixels. For what winograd.h and lowered.h could take.
namespace kn::cpu {

/// Whether a filter's products with so many pixels gain.
bool inPlacePays(const op::Filter& w, const op::Act& y);

void inPlaceForward(const op::Conv2d&);
void inPlaceBackwardData(const op::Conv2dBackwardData&);
void inPlaceBackwardWeights(const op::Conv2dBackwardWeights&);

}  // namespace kn::cpu
