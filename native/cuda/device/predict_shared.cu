#include "last_block.cuh"
#include "planes.cuh"
#include "predict.cuh"

/// The transition of a belief that all splits share, as today's filter has it: so little work that its launches are
/// what it takes. A block an output does all of it, and rectifies the belief for itself.
namespace kn::cuda {

/// A thread rectifies one input at most, and the belief is rectified once an output: of more channels that costs more
/// than the launches that it saves. (More splits would repeat everything but the factors.)
bool isShared(const PredictShape& shape) {
  return shape.splits == 1 && shape.in <= kBlockThreads && shape.out <= kBlockThreads;
}

namespace {

/// The moments of the inputs, α and β, and P of the output whose filter is `w` [taps, in], for all threads of the
/// block, which must all call it. Sums in a fixed order. Both kernels hand it their shared memory: nvcc 13.0 takes
/// pointers to it for null where they lie in a struct within a struct, as one that holds all of this would have them.
__device__ __forceinline__ void fillOutput(const PredictShape& shape, const float* mean, const float* var,
                                           const float* w, float* alpha, float* beta, float* p) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  const int in = static_cast<int>(shape.in), taps = static_cast<int>(shape.taps());
  if (thread < in) {
    const Rectified r = inputMoments(mean[thread], var[thread], shape.rectified);
    alpha[thread] = static_cast<float>(r.mean);
    beta[thread] = static_cast<float>(r.var);
  }
  __syncthreads();
  for (int t = thread / kWarp; t < taps; t += kBlockThreads / kWarp) {
    float sum = 0;
    for (int i = lane; i < in; i += kWarp) sum = fmaf(alpha[i], w[t * in + i], sum);
    sum = sumOfWarp(sum);
    if (lane == 0) p[t] = sum;
  }
  __syncthreads();
}

/// So many pairs of channels are summed by one block, in less time than another launch takes.
constexpr int64_t kFewPairs = 128 * 128;
/// Of more pairs, inputs of a block.
constexpr int kInputsOfBlock = 16;

/// The members of a team share the taps of one input.
Team teamOfInput(const PredictShape& shape) {
  int size = 1;
  while (size < shape.taps() && 2 * size * shape.in <= kBlockThreads) size *= 2;
  return {size};
}

}  // namespace

/// Each output's share of the gradients of α and β, [in, out]; where a slope is shown, in place of β's, of what
/// ShownSlope::ofInput takes.
struct InputShares {
  float *alpha, *beta;
  bool shown;

  /// The gradients of the belief of inputs [first, first + count). All threads of the block must call it.
  __device__ __forceinline__ void finish(const PredictShape& shape, int64_t first, int count, const float* mean,
                                         const float* var, float* dmean, float* dvar) const {
    overChannels<2>(
        first, count, shape.out, kBlockThreads,
        [&](int64_t input, int member, int members, double(&sums)[2]) {
          for (int64_t o = member; o < shape.out; o += members) {
            sums[0] += alpha[input * shape.out + o];
            sums[1] += beta[input * shape.out + o];
          }
        },
        [&](int64_t input, const double(&sums)[2]) {
          const Rectified r = inputMoments(mean[input], var[input], shape.rectified);
          storeBeliefGradient(r, sums[0], shown ? op::ShownSlope::ofInput(sums[1], r.var) : sums[1], dmean[input],
                              dvar[input]);
        });
  }
};

__global__ void predictMomentsShared(PredictShape shape, Team inputs, const float* mean, const float* var,
                                     const float* filter, float* outMean, float* outVar) {
  KN_SHARED(float, alpha, [kBlockThreads]);
  KN_SHARED(float, beta, [kBlockThreads]);
  KN_SHARED(float, p, [kMostTaps * kMostTaps]);
  const FilterForms forms = filterForms(shape);
  const MeanForms means = meanForms(shape);
  const float* const w = filter + blockIdx.x * shape.taps() * shape.in;
  fillOutput(shape, mean, var, w, alpha, beta, p);
  const int thread = static_cast<int>(threadIdx.x), input = inputs.inBlockIndex();
  const int in = static_cast<int>(shape.in), taps = static_cast<int>(shape.taps()), columns = means.columns;
  float spread = 0;
  if (input < in) {
    for (int t = inputs.member(); t < taps; t += inputs.size) {
      spread = fmaf(w[t * in + input], forms.half(w + input, in, t / columns, t % columns), spread);
    }
    spread *= beta[input];
  }
  double variance[1] = {spread};
  const double average = thread < taps ? means.mean(p) : 0;
  for (int t = thread; t < taps; t += kBlockThreads) {
    variance[0] += p[t] * means.deviation(p, average, t / columns, t % columns);
  }
  sumTeam(Team{kBlockThreads}, variance);
  if (thread != 0) return;
  outMean[blockIdx.x] = static_cast<float>(average);
  outVar[blockIdx.x] = varianceOf(variance[0]);
}

/// The filter's gradient, and the belief's: from the outputs' shares of it, by the last block, if there are `tickets`.
__global__ void predictFilterGradientShared(PredictShape shape, Team inputs, const float* mean, const float* var,
                                            const float* filter, const float* doutMean, const float* doutVar,
                                            op::ShownSlope shown, float* dw, InputShares shares, float* dmean,
                                            float* dvar, unsigned* tickets) {
  KN_SHARED(float, alpha, [kBlockThreads]);
  KN_SHARED(float, beta, [kBlockThreads]);
  KN_SHARED(float, p, [kMostTaps * kMostTaps]);
  KN_SHARED(float, dp, [kMostTaps * kMostTaps]);
  const FilterForms forms = filterForms(shape);
  const MeanForms means = meanForms(shape);
  const float* const w = filter + blockIdx.x * shape.taps() * shape.in;
  fillOutput(shape, mean, var, w, alpha, beta, p);
  const int thread = static_cast<int>(threadIdx.x), input = inputs.inBlockIndex();
  const int in = static_cast<int>(shape.in), taps = static_cast<int>(shape.taps()), columns = means.columns;
  const int64_t output = blockIdx.x;
  const float through = doutVar ? doutVar[output] : 0, scale = shown.slope ? shown.scale(output, through) : through;
  const float* const closedVar = doutVar && !shown.slope ? &through : nullptr;
  for (int t = thread; t < taps; t += kBlockThreads) {
    dp[t] = means.gradient(p, t / columns, t % columns, doutMean[output], closedVar);
  }
  __syncthreads();
  double sums[2] = {0, 0};
  if (input < in) {
    float* const gradient = dw + output * shape.taps() * in;
    const float* const slope = shown.slope ? shown.slope + output * shape.taps() * in : nullptr;
    const float dspread = slope ? scale : 2 * scale * beta[input];
    float moved = 0, spread = 0;
    for (int t = inputs.member(); t < taps; t += inputs.size) {
      const float tap = w[t * in + input];
      float form = 0;
      if (closedVar) form = forms.half(w + input, in, t / columns, t % columns);
      if (slope) form = slope[t * in + input];
      gradient[t * in + input] = fmaf(dspread, form, dp[t] * alpha[input]);
      moved = fmaf(tap, dp[t], moved);
      spread = fmaf(tap, form, spread);
    }
    sums[0] = moved;
    sums[1] = spread * scale;
  }
  sumTeam(inputs, sums);
  if (input < in && inputs.member() == 0) {
    shares.alpha[input * shape.out + output] = static_cast<float>(sums[0]);
    shares.beta[input * shape.out + output] = static_cast<float>(sums[1]);
  }
  if (!tickets || !isLastBlock(tickets, gridDim.x)) return;
  shares.finish(shape, 0, in, mean, var, dmean, dvar);
}

/// Where there are many pairs.
__global__ void predictBeliefGradientShared(PredictShape shape, InputShares shares, const float* mean, const float* var,
                                            float* dmean, float* dvar) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kInputsOfBlock, left = shape.in - first;
  const int count = left < kInputsOfBlock ? static_cast<int>(left) : kInputsOfBlock;
  shares.finish(shape, first, count, mean, var, dmean, dvar);
}

/// Needs and moves: 1 read of the filter and the belief. 1 launch.
void predictShared(const op::Predict& o, const PredictShape& shape, Context& context) {
  launch(predictMomentsShared, dim3(static_cast<unsigned>(shape.out)), kBlockThreads, 0, context.stream, shape,
         teamOfInput(shape), o.mean, o.var, o.w.data, o.outMean, o.outVar);
}

/// Needs 1 read of the filter and the belief, 1 write of their gradients. Moves, beside that, two floats a pair of
/// channels, written and read. 1 launch; 2 where there are many pairs.
void predictShared(const op::PredictBackward& o, const PredictShape& shape, Context& context) {
  const int64_t pairs = shape.out * shape.in;
  const bool few = pairs <= kFewPairs;
  const auto memory = context.scratch(2 * pairs * sizeof(float));
  float* const values = static_cast<float*>(memory->data);
  const InputShares shares{values, values + pairs, o.shown.slope != nullptr};
  launch(predictFilterGradientShared, dim3(static_cast<unsigned>(shape.out)), kBlockThreads, 0, context.stream, shape,
         teamOfInput(shape), o.mean, o.var, o.w.data, o.doutMean, o.doutVar, o.shown, o.dw.data, shares, o.dmean,
         o.dvar, few ? context.tickets : nullptr);
  if (few) return;
  launch(predictBeliefGradientShared, dim3(static_cast<unsigned>(ceilDivide(shape.in, kInputsOfBlock))), kBlockThreads,
         0, context.stream, shape, shares, o.mean, o.var, o.dmean, o.dvar);
}

}  // namespace kn::cuda
