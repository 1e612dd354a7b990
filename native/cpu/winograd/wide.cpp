#include "kernels.inl"

const kn::cpu::winograd::Kernels kn::cpu::winograd::kWide = kKernels<kn::cpu::winograd::Float16>;
