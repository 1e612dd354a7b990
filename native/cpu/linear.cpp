#include <dnnl.hpp>

#include <algorithm>
#include <array>

#include "kernels.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

/// A row-major matrix [rows, columns], or the transpose of one.
struct Matrix {
  const float* data;
  int64_t columns;
  bool transposed = false;
};

/// c [m, n] = a [m, k] · b [k, n] + beta · c
void multiply(int64_t m, int64_t n, int64_t k, const Matrix& a, const Matrix& b, float beta, float* c) {
  const dnnl_status_t status = dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1, a.data,
                                          a.columns, b.data, b.columns, beta, c, n);
  require(status == dnnl_success, ErrorCode::DeviceFailed, "oneDNN: sgemm of ", m, " x ", n, " x ", k,
          " failed with status ", static_cast<int>(status));
}

/// Sums of the columns; the order of the rows doesn't depend on the number of threads.
void sumRows(const float* matrix, int64_t rows, int64_t columns, float* sums) {
  constexpr int64_t width = 64;
  parallelRanges(columns, width, [&](int64_t begin, int64_t end) {
    std::array<double, width> totals{};
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = begin; j < end; ++j) totals[j - begin] += matrix[i * columns + j];
    }
    for (int64_t j = begin; j < end; ++j) sums[j] = static_cast<float>(totals[j - begin]);
  });
}

}  // namespace

void run(const op::Linear& o, Context&) {
  if (o.b) {
    for (int64_t i = 0; i < o.n; ++i) std::copy_n(o.b, o.out, o.y + i * o.out);
  }
  multiply(o.n, o.out, o.in, {o.x, o.in}, {o.w, o.out}, o.b ? 1 : 0, o.y);
}

void run(const op::LinearBackward& o, Context&) {
  if (o.dx) multiply(o.n, o.in, o.out, {o.dy, o.out}, {o.w, o.out, true}, 0, o.dx);
  if (o.dw) multiply(o.in, o.out, o.n, {o.x, o.in, true}, {o.dy, o.out}, 0, o.dw);
  if (o.db) sumRows(o.dy, o.n, o.out, o.db);
}

}  // namespace kn::cpu
