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

/// A warp takes a sample; `gradients` get (softmax - one-hot) · share. The logits are read three times, from the caches
/// after the first. Too few values for the price of double to count. A NaN is passed over by the maximum and spreads
/// through the sum.
__global__ void crossEntropy(const float* logits, const int32_t* labels, SampleOutcome* outcomes, float* gradients,
                             int64_t n, int64_t classes, double share) {
  const int64_t lane = threadIdx.x % kWarp;
  for (int64_t sample = firstItem() / kWarp; sample < n; sample += itemStep() / kWarp) {
    const float* const x = logits + sample * classes;
    float* const gradient = gradients + sample * classes;
    const int64_t label = labels[sample];
    const bool known = label >= 0 && label < classes;
    Largest largest{-INFINITY, classes};
    for (int64_t k = lane; k < classes; k += kWarp) largest.merge(x[k], k);
    largest = largestOfWarp(largest);
    const double top = largest.value;
    double sum = 0;
    for (int64_t k = lane; k < classes; k += kWarp) sum += exp(x[k] - top);
    sum = sumOfWarp(sum);
    for (int64_t k = lane; k < classes; k += kWarp) {
      const double probability = exp(x[k] - top) / sum;
      gradient[k] = known ? static_cast<float>((probability - (k == label ? 1 : 0)) * share) : 0.0f;
    }
    if (lane == 0) {
      const double loss = known ? log(sum) - (x[label] - top) : static_cast<double>(NAN);
      // A sample without a number for a loss has not been recognised.
      outcomes[sample] = {loss, largest.index != label || loss != loss ? 1 : 0};
    }
  }
}

/// One block: the mean loss and the number of errors.
__global__ void sumOutcomes(const SampleOutcome* outcomes, float* loss, float* errors, int64_t n) {
  KN_SHARED(double, losses, [kItemThreads]);
  KN_SHARED(int64_t, wrongs, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0;
  int64_t wrong = 0;
  for (int64_t i = thread; i < n; i += kItemThreads) {
    sum += outcomes[i].loss;
    wrong += outcomes[i].wrong;
  }
  losses[thread] = sum;
  wrongs[thread] = wrong;
  __syncthreads();
  for (int half = kItemThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      losses[thread] += losses[thread + half];
      wrongs[thread] += wrongs[thread + half];
    }
    __syncthreads();
  }
  if (thread == 0) {
    *loss = static_cast<float>(losses[0] / static_cast<double>(n));
    *errors = static_cast<float>(wrongs[0]);
  }
}

void run(const op::CrossEntropy& o, Context& context) {
  const auto scratch = context.scratch(static_cast<size_t>(o.n) * sizeof(SampleOutcome));
  auto* const outcomes = static_cast<SampleOutcome*>(scratch->data);
  launchItems(context, o.n * kWarp, crossEntropy, o.logits, o.labels, outcomes, o.dlogits, o.n, o.classes,
              1.0 / static_cast<double>(o.n));
  launchTasks(context, 1, sumOutcomes, outcomes, o.loss, o.errors, o.n);
}

}  // namespace kn::cuda
