#pragma once
#include "strided.h"

namespace kn {

enum class ReduceKind : uint8_t {
  Sum,
  Mean,
  Max,
  ArgMax,  ///< the place of the first of the largest, int32
};

}  // namespace kn

namespace kn::op {

/// out = sum, mean or maximum of the terms, or where it is. A NaN among them is the result, and the largest.
struct Reduce {
  Walk outputs, terms;
  View x;  ///< along the axes of the outputs
  Axis termAxes[kMostAxes];
  View out;
  ReduceKind kind;
};

}  // namespace kn::op

namespace kn {

/// Reduces x along all axes where `shape`, aligned to the last ones, has size 1 or isn't there. ArgMax: along one only.
Tensor reduce(const Tensor& x, const Shape& shape, Format format, ReduceKind kind);

}  // namespace kn
