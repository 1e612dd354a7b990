#pragma once
#include "views.h"

namespace kn::op {

/// y = x·w + b, w [in, out] row-major
struct Linear {
  const float *x, *w, *b;
  float* y;
  int64_t n, in, out;
};
struct LinearBackward {
  const float *x, *w, *dy;
  float *dx, *dw, *db;  ///< each may be null
  int64_t n, in, out;
};

}  // namespace kn::op

namespace kn {

struct LinearGradients {
  Tensor dx, dw, db;
};
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);
LinearGradients linearBackward(const Tensor& x, const Tensor& w, const Tensor& dy, bool needDx, bool bias);

}  // namespace kn
