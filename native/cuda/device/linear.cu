#include "grid.cuh"
#include "kernels.h"
#include "../nvidia/libraries.h"

namespace kn::cuda {
namespace {

constexpr int kColumns = 32;  ///< of a block, whose warps share the rows
constexpr int kThreadRows = kItemThreads / kColumns;

}  // namespace

/// Sums of the columns of a row-major matrix, in a fixed order. Reads each value once.
__global__ void sumColumns(const float* matrix, float* sums, int64_t rows, int64_t columns) {
  KN_SHARED(double, partial, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  const int threadRow = thread / kColumns;
  for (int64_t first = blockIdx.x * int64_t{kColumns}; first < columns; first += gridDim.x * int64_t{kColumns}) {
    const int64_t column = first + thread % kColumns;
    double sum = 0;
    if (column < columns) {
      for (int64_t row = threadRow; row < rows; row += kThreadRows) sum += matrix[row * columns + column];
    }
    partial[thread] = sum;
    __syncthreads();
    if (threadRow == 0 && column < columns) {
      for (int i = 1; i < kThreadRows; ++i) sum += partial[i * kColumns + thread];
      sums[column] = static_cast<float>(sum);
    }
    __syncthreads();
  }
}

void run(const op::Linear& o, Context& context) {
  const MatrixProduct product{o.n, o.out, o.in, false, false, context.tf32};
  context.libraries->multiply(context, product, o.x, o.w, o.b, o.y);
}

void run(const op::LinearBackward& o, Context& context) {
  if (o.dx) {
    const MatrixProduct product{o.n, o.in, o.out, false, true, context.tf32};
    context.libraries->multiply(context, product, o.dy, o.w, nullptr, o.dx);
  }
  if (o.dw) {
    const MatrixProduct product{o.in, o.out, o.n, true, false, context.tf32};
    context.libraries->multiply(context, product, o.x, o.dy, nullptr, o.dw);
  }
  if (o.db) launchTasks(context, ceilDivide(o.out, kColumns), sumColumns, o.dy, o.db, o.n, o.out);
}

}  // namespace kn::cuda
