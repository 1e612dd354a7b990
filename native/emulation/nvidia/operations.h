#pragma once
#include <functional>
#include <vector>

#include "../loops.h"
#include "descriptors.h"

/// What graphs of the played cuDNN compute: sizes, types and parameters are checked, then the emulation's loops run.
namespace kn::emulation::dnn {

/// Where the tensor with an id lies; a value of the host has been copied.
using Places = std::function<void*(int64_t id)>;

struct Operation {
  std::vector<TensorOf> tensors;
  /// Whether any engine has it: cuDNN refuses some graphs that are well formed.
  bool supported = true;
  std::function<void(const Places&)> run;
};

/// Throws where the descriptor isn't that of an operation with all that fits together.
Operation operationOf(const Descriptor& descriptor);

}  // namespace kn::emulation::dnn
