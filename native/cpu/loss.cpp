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

/// One sample; `gradient` gets (softmax - one-hot) · share.
Outcome crossEntropy(const float* logits, int64_t classes, int64_t label, double share, float* gradient) {
  if (label < 0 || label >= classes) {
    std::fill_n(gradient, classes, 0.0f);
    return {std::numeric_limits<double>::quiet_NaN(), true};
  }
  const float* largest = std::max_element(logits, logits + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(double{logits[k]} - *largest);
  for (int64_t k = 0; k < classes; ++k) {
    const double probability = std::exp(double{logits[k]} - *largest) / sum;
    gradient[k] = static_cast<float>((probability - (k == label ? 1 : 0)) * share);
  }
  const double loss = std::log(sum) - (double{logits[label]} - *largest);
  // max_element passes over NaN: a sample without a number for a loss has not been recognised.
  return {loss, largest - logits != label || std::isnan(loss)};
}

}  // namespace

void run(const op::CrossEntropy& o, Context&) {
  std::vector<Outcome> outcomes(o.n);
  const int64_t grain = std::max<int64_t>(1, 4096 / o.classes);
  parallelRanges(o.n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      outcomes[i] = crossEntropy(o.logits + i * o.classes, o.classes, o.labels[i], 1.0 / static_cast<double>(o.n),
                                 o.dlogits + i * o.classes);
    }
  });
  double loss = 0;
  int64_t errors = 0;
  for (const Outcome& outcome : outcomes) {
    loss += outcome.loss;
    errors += outcome.wrong;
  }
  *o.loss = static_cast<float>(loss / static_cast<double>(o.n));
  *o.errors = static_cast<float>(errors);
}

}  // namespace kn::cpu
