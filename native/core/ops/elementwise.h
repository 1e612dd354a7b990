#pragma once
#include <vector>

#include "map_functions.h"
#include "views.h"

namespace kn::op {

/// `out` may be a or b.
struct Add {
  Values a, b, out;
};
struct AddedPair {
  Values a, b;
  float* out;
  int32_t count;
};
/// out = a + b, or a where b has no data, pair by pair. They may be stored in any way.
struct AddEach {
  std::vector<AddedPair> pairs;
};
struct Scale {
  Values x, out;
  float factor;
  const float* by;  ///< a second factor, in device memory; may be null
};
struct Relu {
  Values x, y;
};
struct ReluBackward {
  Values y, dy, dx;
};
struct Map {
  Values x, y;
  MapKind kind;
  float a, b;  ///< parameters of some kinds
};
/// `at`: y where `slopeFromResult(kind)`, else x.
struct MapBackward {
  Values at, dy, dx;
  MapKind kind;
  float a, b;
};

}  // namespace kn::op

namespace kn {

Tensor add(const Tensor& a, const Tensor& b);
struct AddPair {
  Tensor a, b;
};
/// Sums a + b, or a alone where b is empty. One launch on each device adds all pairs of one order, but for activations
/// in 16 bits; filters are stored as float32 afterwards.
std::vector<Tensor> addEach(const std::vector<AddPair>& pairs);
void addInto(const Tensor& target, const Tensor& other);
Tensor scale(const Tensor& x, double factor);
/// x times a tensor of one value.
Tensor scaleBy(const Tensor& x, const Tensor& factor);
Tensor relu(const Tensor& x);
Tensor reluBackward(const Tensor& y, const Tensor& dy);
Tensor map(const Tensor& x, MapKind kind, double a, double b);
/// `at`: the result of `map` where `slopeFromResult(kind)`, else its x.
Tensor mapBackward(const Tensor& at, const Tensor& dy, MapKind kind, double a, double b);

}  // namespace kn
