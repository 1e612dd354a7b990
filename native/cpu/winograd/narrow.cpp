#include "kernels.inl"

const kn::cpu::winograd::Kernels kn::cpu::winograd::kNarrow = kKernels<kn::cpu::Float8>;
