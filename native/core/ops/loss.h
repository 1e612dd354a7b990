#pragma once
#include "views.h"

namespace kn::op {

/// loss[0] = mean cross-entropy, errors[0] = samples whose label isn't the first of the largest logits. A sample's
/// target is 1 - smoothing at its label, and smoothing / classes at each class besides; each is multiplied by its
/// class's weight, and the mean is that of all samples by the weights of their labels.
struct CrossEntropy {
  const float* logits;
  const int32_t* labels;
  float *loss, *errors, *dlogits;
  int64_t n, classes;
  float smoothing;
  const float* weights;  ///< [classes]; may be null
};

}  // namespace kn::op

namespace kn {

struct LossResult {
  Tensor loss, errors, dlogits;
};
/// `weights` may be empty.
LossResult crossEntropy(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& weights);

}  // namespace kn
