#pragma once
#include "../../core/operations.h"
#include "../runtime/context.h"

/// The device's launches: one overload of `run` an operation, in the file of its family. They enqueue and return.
namespace kn::cuda {

#define KN_KERNEL(Op, name) void run(const op::Op&, Context&);
KN_OPERATIONS(KN_KERNEL)
#undef KN_KERNEL
/// Between memory of the device on both sides.
void run(const op::Transfer&, Context&);

}  // namespace kn::cuda
