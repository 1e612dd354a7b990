#include "patches.h"
#include "products.h"
#include "tiles.h"

namespace kn::cpu::convolution {

const Kernels kWide = {gatherInput<Float16>,
                       gatherGradient<Float16>,
                       scatterOutput<Float16>,
                       gatherPatches<Float16>,
                       gatherBlocks,
                       addPatches<Float16>,
                       scatterPixels<Float16>,
                       multiply<Float16>,
                       multiplyInPlace<Float16>,
                       gradientInPlace<Float16>,
                       accumulate<Float16>};

}  // namespace kn::cpu::convolution
