#pragma once
#include "views.h"

namespace kn::op {

/// `out` may be a or b.
struct Add {
  Values a, b, out;
};
/// Value by value. `out` may be a or b.
struct Multiply {
  Values a, b, out;
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
/// 1 / (1 + exp(-x))
struct Sigmoid {
  Values x, y;
};
struct SigmoidBackward {
  Values y, dy, dx;
};

}  // namespace kn::op

namespace kn {

Tensor add(const Tensor& a, const Tensor& b);
void addInto(const Tensor& target, const Tensor& other);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, double factor);
/// x times a tensor of one value.
Tensor scaleBy(const Tensor& x, const Tensor& factor);
Tensor relu(const Tensor& x);
Tensor reluBackward(const Tensor& y, const Tensor& dy);
Tensor sigmoid(const Tensor& x);
Tensor sigmoidBackward(const Tensor& y, const Tensor& dy);

}  // namespace kn
