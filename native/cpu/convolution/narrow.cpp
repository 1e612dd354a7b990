#include "patches.h"
#include "products.h"
#include "tiles.h"

namespace kn::cpu::convolution {

const Kernels kNarrow = {gatherInput<Float8>,     gatherGradient<Float8>, scatterOutput<Float8>,
                         gatherPatches<Float8>,   gatherBlocks,           addPatches<Float8>,
                         scatterPixels<Float8>,   multiply<Float8>,       multiplyInPlace<Float8>,
                         gradientInPlace<Float8>, accumulate<Float8>};

}  // namespace kn::cpu::convolution
