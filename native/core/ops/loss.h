#pragma once
#include <optional>

#include "views.h"

namespace kn::op {

/// loss[0] = mean cross-entropy, errors[0] = samples whose label isn't the first of the largest logits. A sample's
/// target is 1 - smoothing at its label, and smoothing / classes at each class besides; each is multiplied by its
/// class's weight, and the mean is that of all samples by the weights of their labels. Samples of the label `ignored`
/// have no part in it; a mean of no samples is 0.
struct CrossEntropy {
  const float* logits;
  const int32_t* labels;
  float *loss, *errors, *dlogits;
  int64_t n, classes;
  float smoothing;
  const float* weights;  ///< [classes]; may be null
  int64_t ignored;       ///< kNoLabel: none

  static constexpr int64_t kNoLabel = INT64_MIN;
};

}  // namespace kn::op

namespace kn {

struct LossResult {
  Tensor loss, errors, dlogits;
};
/// `weights` and `ignoreIndex` may be empty.
LossResult crossEntropy(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& weights,
                        std::optional<int64_t> ignoreIndex);

}  // namespace kn
