#pragma once
#include "views.h"

namespace kn::op {

/// loss[0] = mean cross-entropy, errors[0] = samples whose label isn't the first of the largest logits.
struct CrossEntropy {
  const float* logits;
  const int32_t* labels;
  float *loss, *errors, *dlogits;
  int64_t n, classes;
};

}  // namespace kn::op

namespace kn {

struct LossResult {
  Tensor loss, errors, dlogits;
};
LossResult crossEntropy(const Tensor& logits, const Tensor& labels);

}  // namespace kn
