#include "patches.inl"

const kn::cpu::convolution::Kernels kn::cpu::convolution::kNarrow = kKernels<kn::cpu::Float8>;
