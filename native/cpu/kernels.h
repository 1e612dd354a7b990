#pragma once
#include "../core/operations.h"

/// The CPU's kernels: one overload of `run` an operation, in the file of its family. They run on the executor thread.
namespace kn::cpu {

class ConvCache;

/// What a kernel may use beside its operands.
struct Context {
  ConvCache& convolutions;
};

#define KN_KERNEL(Op, name) void run(const op::Op&, Context&);
KN_OPERATIONS(KN_KERNEL)
#undef KN_KERNEL
void run(const op::Transfer&, Context&);

}  // namespace kn::cpu
