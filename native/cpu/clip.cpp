#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"
#include "tensor_list.h"

namespace kn::cpu {
namespace {

/// In double, in chains that don't wait for each other.
double sumOfSquares(const float* values, int64_t count) {
  constexpr int64_t chains = 8;
  double sums[chains] = {};
  int64_t i = 0;
  for (; i + chains <= count; i += chains) {
    for (int64_t j = 0; j < chains; ++j) sums[j] += static_cast<double>(values[i + j]) * values[i + j];
  }
  for (; i < count; ++i) sums[i % chains] += static_cast<double>(values[i]) * values[i];
  return std::accumulate(sums, sums + chains, 0.0);
}

}  // namespace

void run(const op::ClipNorm& o, Context&) {
  using Gradient = op::ClippedGradient;
  std::vector<double> sums(listTasks(o.gradients));
  forTensors(o.gradients, [&](const Gradient& gradient, int64_t begin, int64_t end, int64_t task) {
    sums[task] += sumOfSquares(gradient.values + begin, end - begin);
  });
  const double scale = o.lossScale ? o.lossScale[0] : 1;
  const double norm = std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0)) / scale;
  *o.norm = static_cast<float>(norm);
  if (!(norm > o.maxNorm) || norm == std::numeric_limits<double>::infinity()) return;
  const auto factor = static_cast<float>(o.maxNorm / norm);
  forTensors(o.gradients, [&](const Gradient& gradient, int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; ++i) gradient.values[i] *= factor;
  });
}

void run(const op::ClipValue& o, Context&) {
  const float limit = o.lossScale ? o.limit * o.lossScale[0] : o.limit;
  forTensors(o.gradients, [&](const op::ClippedGradient& gradient, int64_t begin, int64_t end, int64_t) {
    for (int64_t i = begin; i < end; ++i) {
      const float value = gradient.values[i];
      gradient.values[i] = value > limit ? limit : value < -limit ? -limit : value;
    }
  });
}

}  // namespace kn::cpu
