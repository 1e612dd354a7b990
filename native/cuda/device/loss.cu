#include <cmath>

#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

struct SampleOutcome {
  double loss;
  int64_t wrong;
};

namespace {

/// The first of the largest.
struct Largest {
  float value;
  int64_t index;
  __device__ __forceinline__ void merge(float v, int64_t i) {
    if (v > value || (v == value && i < index)) {
      value = v;
      index = i;
    }
  }
};

__device__ __forceinline__ Largest largestOfWarp(Largest mine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float value = __shfl_xor_sync(kAllLanes, mine.value, distance);
    const int64_t index = __shfl_xor_sync(kAllLanes, mine.index, distance);
    mine.merge(value, index);
  }
  return mine;
}

/// What a sum of samples is multiplied by; without a total of weights all samples count alike.
__device__ __forceinline__ double shareOf(const double* total, int64_t n) {
  const double weight = total ? *total : static_cast<double>(n);
  return weight > 0 ? 1 / weight : 0;
}

}  // namespace

/// One block: what the mean is divided by, where classes have weights or samples are left out.
__global__ void sumWeights(op::CrossEntropy o, double* total) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int64_t i = thread; i < o.n; i += kItemThreads) {
    const int64_t label = o.labels[i];
    if (label == o.ignored) continue;
    if (!o.weights) sum += 1;
    if (o.weights && label >= 0 && label < o.classes) sum += o.weights[label];
  }
  sum = sumOfBlock(sum);
  if (thread == 0) *total = sum;
}

/// A warp takes a sample; `gradients` get (softmax · sum of targets - targets) / total. The logits are read three
/// times, from the caches after the first. Too few values for the price of double to count. A NaN is passed over by the
/// maximum and spreads through the sum.
__global__ void crossEntropy(op::CrossEntropy o, SampleOutcome* outcomes, const double* total) {
  const int64_t lane = threadIdx.x % kWarp, n = o.n, classes = o.classes;
  const double share = shareOf(total, n);
  const double spread = static_cast<double>(o.smoothing) / static_cast<double>(classes);
  const auto weightOf = [&](int64_t k) { return static_cast<double>(o.weights ? o.weights[k] : 1.0f); };
  for (int64_t sample = firstItem() / kWarp; sample < n; sample += itemStep() / kWarp) {
    const float* const x = o.logits + sample * classes;
    float* const gradient = o.dlogits + sample * classes;
    const int64_t label = o.labels[sample];
    const bool ignored = label == o.ignored, known = label >= 0 && label < classes && !ignored;
    Largest largest{-INFINITY, classes};
    for (int64_t k = lane; k < classes; k += kWarp) largest.merge(x[k], k);
    largest = largestOfWarp(largest);
    const double top = largest.value;
    const double own = known ? (1 - static_cast<double>(o.smoothing)) * weightOf(label) : 0;
    double sum = 0, targets = 0, cross = 0;
    for (int64_t k = lane; k < classes; k += kWarp) {
      sum += exp(x[k] - top);
      if (spread == 0) continue;
      targets += spread * weightOf(k);
      cross += spread * weightOf(k) * (x[k] - top);
    }
    sum = sumOfWarp(sum);
    targets = own + sumOfWarp(targets);
    cross = sumOfWarp(cross);
    for (int64_t k = lane; k < classes; k += kWarp) {
      const double probability = exp(x[k] - top) / sum;
      const double target = (k == label ? own : 0) + spread * weightOf(k);
      gradient[k] = known ? static_cast<float>((probability * targets - target) * share) : 0.0f;
    }
    if (lane == 0) {
      const double loss = known ? targets * log(sum) - own * (x[label] - top) - cross : static_cast<double>(NAN);
      // A sample without a number for a loss has not been recognised.
      outcomes[sample] = ignored ? SampleOutcome{0, 0} : SampleOutcome{loss, largest.index != label || loss != loss};
    }
  }
}

/// One block: the mean loss and the number of errors.
__global__ void sumOutcomes(const SampleOutcome* outcomes, float* loss, float* errors, int64_t n, const double* total) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
  int64_t wrong = 0;
  for (int64_t i = thread; i < n; i += kItemThreads) {
    sum += outcomes[i].loss;
    wrong += outcomes[i].wrong;
  }
  sum = sumOfBlock(sum);
  wrong = sumOfBlock(wrong);
  if (thread == 0) {
    *loss = static_cast<float>(sum * shareOf(total, n));
    *errors = static_cast<float>(wrong);
  }
}

void run(const op::CrossEntropy& o, Context& context) {
  const auto scratch = context.scratch(static_cast<size_t>(o.n) * sizeof(SampleOutcome));
  auto* const outcomes = static_cast<SampleOutcome*>(scratch->data);
  const bool counted = o.weights || o.ignored != op::CrossEntropy::kNoLabel;
  const auto weight = counted ? context.scratch(sizeof(double)) : nullptr;
  auto* const total = weight ? static_cast<double*>(weight->data) : nullptr;
  if (total) launchTasks(context, 1, sumWeights, o, total);
  launchItems(context, o.n * kWarp, crossEntropy, o, outcomes, total);
  launchTasks(context, 1, sumOutcomes, outcomes, o.loss, o.errors, o.n, total);
}

}  // namespace kn::cuda
