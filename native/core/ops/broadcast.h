#pragma once
#include "map_functions.h"
#include "strided.h"

namespace kn::op {

/// out = f(a, b), with a and b broadcast to the walk.
struct Binary {
  Walk walk;
  View a, b, out;
  BinaryKind kind;
  int64_t flat;  ///< number of values, where all three lie alike; else 0
};

}  // namespace kn::op

namespace kn {

/// Shapes are broadcast by NumPy's rules. The result has the format of an operand that has its shape.
Tensor binary(const Tensor& a, const Tensor& b, BinaryKind kind);

}  // namespace kn
