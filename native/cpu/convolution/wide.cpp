#include "patches.inl"

const kn::cpu::convolution::Kernels kn::cpu::convolution::kWide = kKernels<kn::cpu::convolution::Float16>;
