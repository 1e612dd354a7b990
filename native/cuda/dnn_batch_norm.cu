#include "kernels.h"
#include "libraries.h"
#include "values.cuh"

namespace kn::cuda {

/// var = 1 / rstd^2 - epsilon; cuDNN hands out the reciprocal alone.
__global__ void varianceOfRstd(const float* rstd, float epsilon, int64_t channels, float* var) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c < channels) var[c] = fmaxf(1.0F / (rstd[c] * rstd[c]) - epsilon, 0.0F);
}

namespace {

DnnBatchNorm problemOf(const op::Act& x, bool relu) { return {x.stored, x.n, x.c, x.h, x.w, relu}; }

}  // namespace

void run(const op::DnnBatchNorm& o, Context& context) {
  context.libraries->batchNorm(context, problemOf(o.x, o.relu), o.epsilon, o.x.data, o.gamma, o.beta, o.y.data, o.mean,
                               o.rstd);
  constexpr int kThreads = 128;
  launch(varianceOfRstd, dim3(static_cast<unsigned>(ceilDivide(o.x.c, kThreads))), dim3(kThreads), 0, context.stream,
         o.rstd, o.epsilon, o.x.c, o.var);
}

void run(const op::DnnBatchNormBackward& o, Context& context) {
  context.libraries->batchNormBackward(context, problemOf(o.x, o.relu), o.x.data, o.dy.data, o.gamma, o.beta, o.mean,
                                       o.rstd, o.dx.data, o.dgamma, o.dbeta);
}

}  // namespace kn::cuda
