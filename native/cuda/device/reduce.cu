#include "kernels.h"
#include "strided.cuh"

namespace kn::cuda {
namespace {

/// Outputs of fewer terms have a thread each, others a block.
constexpr int64_t kManyTerms = 128;

/// What is known of some of the terms: their sum, or the first of the largest. A NaN is larger than all.
struct Partial {
  double sum;
  float largest;
  int32_t place;

  __device__ __forceinline__ void take(float value, int32_t i) {
    const bool isNaN = value != value, hasNaN = largest != largest;
    const bool larger = isNaN ? !hasNaN : value > largest;
    const bool equal = isNaN ? hasNaN : value == largest;
    if (larger || (equal && i < place)) {
      largest = value;
      place = i;
    }
  }
};

constexpr int32_t kNowhere = 0x7fffffff;

__device__ __forceinline__ Partial none() { return {0, -INFINITY, kNowhere}; }

/// Takes the terms first, first + step, ... of the output whose values begin at `from`.
__device__ __forceinline__ Partial partial(const op::Reduce& o, int64_t from, int64_t first, int64_t step,
                                           int64_t terms) {
  Partial result = none();
  const bool sums = o.kind == ReduceKind::Sum || o.kind == ReduceKind::Mean;
  for (int64_t i = first; i < terms; i += step) {
    int64_t at[1];
    offsetsOf(o.terms, {o.termAxes}, static_cast<uint32_t>(i), at);
    const float value = loadAt(o.x.data, o.x.stored, from + at[0]);
    if (sums) {
      result.sum += value;
    } else {
      result.take(value, static_cast<int32_t>(i));
    }
  }
  return result;
}

__device__ __forceinline__ void finish(const op::Reduce& o, const Partial& result, int64_t at, int64_t terms) {
  switch (o.kind) {
    case ReduceKind::Sum: return storeAt(o.out.data, o.out.stored, at, static_cast<float>(result.sum));
    case ReduceKind::Mean:
      return storeAt(o.out.data, o.out.stored, at, static_cast<float>(result.sum / static_cast<double>(terms)));
    case ReduceKind::Max: return storeAt(o.out.data, o.out.stored, at, result.largest);
    case ReduceKind::ArgMax:
      static_cast<int32_t*>(o.out.data)[at] = result.place == kNowhere ? 0 : result.place;
      return;
  }
}

}  // namespace

__global__ void reduceByThreads(op::Reduce o, int64_t outputs, int64_t terms) {
  for (int64_t i = firstItem(); i < outputs; i += itemStep()) {
    int64_t at[2];
    offsetsOf(o.outputs, {o.x.axes, o.out.axes}, static_cast<uint32_t>(i), at);
    finish(o, partial(o, at[0], 0, 1, terms), at[1], terms);
  }
}

/// The order of the sum depends on the number of terms alone.
__global__ void reduceByBlocks(op::Reduce o, int64_t outputs, int64_t terms) {
  KN_SHARED(double, sums, [kItemThreads]);
  KN_SHARED(float, largest, [kItemThreads]);
  KN_SHARED(int32_t, places, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t i = blockIdx.x; i < outputs; i += gridDim.x) {
    int64_t at[2];
    offsetsOf(o.outputs, {o.x.axes, o.out.axes}, static_cast<uint32_t>(i), at);
    Partial mine = partial(o, at[0], thread, kItemThreads, terms);
    sums[thread] = mine.sum;
    largest[thread] = mine.largest;
    places[thread] = mine.place;
    __syncthreads();
    for (int half = kItemThreads / 2; half > 0; half /= 2) {
      if (thread < half) {
        mine.sum += sums[thread + half];
        mine.take(largest[thread + half], places[thread + half]);
        sums[thread] = mine.sum;
        largest[thread] = mine.largest;
        places[thread] = mine.place;
      }
      __syncthreads();
    }
    if (thread == 0) finish(o, mine, at[1], terms);
    __syncthreads();
  }
}

void run(const op::Reduce& o, Context& context) {
  const int64_t outputs = o.outputs.count(), terms = o.terms.count();
  if (terms < kManyTerms) {
    launchItems(context, outputs, reduceByThreads, o, outputs, terms);
  } else {
    launchTasks(context, outputs, reduceByBlocks, o, outputs, terms);
  }
}

}  // namespace kn::cuda
