#include <cmath>

#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

struct SampleOutcome {
  double loss;
  int64_t wrong;
};

namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

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

__device__ __forceinline__ double sumOfWarp(double mine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) mine += __shfl_xor_sync(kAllLanes, mine, distance);
  return mine;
}

}  // namespace

/// One block: what the mean is divided by, where classes have weights.
__global__ void sumWeights(const int32_t* labels, const float* weights, double* total, int64_t n, int64_t classes) {
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int64_t i = thread; i < n; i += kItemThreads) {
    const int32_t label = labels[i];
    if (label >= 0 && label < classes) sum += weights[label];
  }
  sum = sumOfBlock(sum);
  if (thread == 0) *total = sum;
}

/// A warp takes a sample; `gradients` get (softmax · sum of targets - targets) / total. The logits are read three
/// times, from the caches after the first. Too few values for the price of double to count. A NaN is passed over by the
/// maximum and spreads through the sum.
__global__ void crossEntropy(op::CrossEntropy o, SampleOutcome* outcomes, const double* total) {
  const int64_t lane = threadIdx.x % kWarp, n = o.n, classes = o.classes;
  const double share = 1 / (total ? *total : static_cast<double>(n));
  const double spread = static_cast<double>(o.smoothing) / static_cast<double>(classes);
  const auto weightOf = [&](int64_t k) { return static_cast<double>(o.weights ? o.weights[k] : 1.0f); };
  for (int64_t sample = firstItem() / kWarp; sample < n; sample += itemStep() / kWarp) {
    const float* const x = o.logits + sample * classes;
    float* const gradient = o.dlogits + sample * classes;
    const int64_t label = o.labels[sample];
    const bool known = label >= 0 && label < classes;
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
      outcomes[sample] = {loss, largest.index != label || loss != loss ? 1 : 0};
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
    *loss = static_cast<float>(sum / (total ? *total : static_cast<double>(n)));
    *errors = static_cast<float>(wrong);
  }
}

void run(const op::CrossEntropy& o, Context& context) {
  const auto scratch = context.scratch(static_cast<size_t>(o.n) * sizeof(SampleOutcome));
  auto* const outcomes = static_cast<SampleOutcome*>(scratch->data);
  const auto weight = o.weights ? context.scratch(sizeof(double)) : nullptr;
  auto* const total = weight ? static_cast<double*>(weight->data) : nullptr;
  if (total) launchTasks(context, 1, sumWeights, o.labels, o.weights, total, o.n, o.classes);
  launchItems(context, o.n * kWarp, crossEntropy, o, outcomes, total);
  launchTasks(context, 1, sumOutcomes, outcomes, o.loss, o.errors, o.n, total);
}

}  // namespace kn::cuda
