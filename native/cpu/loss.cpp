#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

struct Outcome {
  double loss;
  bool wrong;
};

float weightOf(const op::CrossEntropy& o, int64_t k) { return o.weights ? o.weights[k] : 1; }

/// Sample i; its gradient gets (softmax · sum of targets - targets) · share.
Outcome crossEntropy(const op::CrossEntropy& o, int64_t i, double share) {
  const int64_t classes = o.classes, label = o.labels[i];
  const float* const logits = o.logits + i * classes;
  float* const gradient = o.dlogits + i * classes;
  if (label < 0 || label >= classes || label == o.ignored) {
    std::fill_n(gradient, classes, 0.0f);
    if (label == o.ignored) return {0, false};
    return {std::numeric_limits<double>::quiet_NaN(), true};
  }
  const float* largest = std::max_element(logits, logits + classes);
  const double own = (1 - double{o.smoothing}) * weightOf(o, label);
  const double spread = double{o.smoothing} / static_cast<double>(classes);
  double sum = 0, targets = own, cross = own * (double{logits[label]} - *largest);
  for (int64_t k = 0; k < classes; ++k) {
    sum += std::exp(double{logits[k]} - *largest);
    if (spread == 0) continue;
    targets += spread * weightOf(o, k);
    cross += spread * weightOf(o, k) * (double{logits[k]} - *largest);
  }
  for (int64_t k = 0; k < classes; ++k) {
    const double probability = std::exp(double{logits[k]} - *largest) / sum;
    const double target = (k == label ? own : 0) + spread * weightOf(o, k);
    gradient[k] = static_cast<float>((probability * targets - target) * share);
  }
  const double loss = targets * std::log(sum) - cross;
  // max_element passes over NaN: a sample without a number for a loss has not been recognised.
  return {loss, largest - logits != label || std::isnan(loss)};
}

/// What the mean is divided by.
double totalWeight(const op::CrossEntropy& o) {
  double total = 0;
  for (int64_t i = 0; i < o.n; ++i) {
    const int64_t label = o.labels[i];
    if (label == o.ignored) continue;
    if (!o.weights) total += 1;
    if (o.weights && label >= 0 && label < o.classes) total += o.weights[label];
  }
  return total;
}

}  // namespace

void run(const op::CrossEntropy& o, Context&) {
  std::vector<Outcome> outcomes(o.n);
  const int64_t grain = std::max<int64_t>(1, 4096 / o.classes);
  const double total = totalWeight(o), share = total > 0 ? 1 / total : 0;
  parallelRanges(o.n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) outcomes[i] = crossEntropy(o, i, share);
  });
  double loss = 0;
  int64_t errors = 0;
  for (const Outcome& outcome : outcomes) {
    loss += outcome.loss;
    errors += outcome.wrong;
  }
  *o.loss = static_cast<float>(loss * share);
  *o.errors = static_cast<float>(errors);
}

}  // namespace kn::cpu
