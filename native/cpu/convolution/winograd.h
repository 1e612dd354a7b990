#pragma once
#include "../../core/ops/conv2d.h"

/// 3 x 3 convolutions of stride 1 by Winograd's minimal filtering, F(2x2, 3x3) (Lavin and Gray 2016): 16 products for
/// what takes 36 directly. Tiles of 4 x 4 pixels and filters are transformed, multiplied as 16 matrices, and
/// transformed back. With this small tile the rounding errors are those of a direct sum.
namespace kn::cpu {

/// Whether the kernels below can take a problem: channels in multiples of 8, which are the blocked layouts.
bool winogradFits(const op::Act& x, const op::Filter& w, const op::ConvShape& shape);

/// Whether forward and the data's gradient gain by them: with few channels the transforms weigh more than the products
/// that they save. Measured against oneDNN at 16 channels: 1.3 of its speed with AVX2. The weights' gradient gains
/// always.
bool winogradPays(const op::Filter& w);

void winogradForward(const op::Conv2d&);
void winogradBackwardData(const op::Conv2dBackwardData&);
void winogradBackwardWeights(const op::Conv2dBackwardWeights&);

}  // namespace kn::cpu
