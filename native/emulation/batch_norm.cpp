#include <cmath>

#include "loops.h"
#include "workers.h"

namespace kn::emulation {

void batchNorm(const cuda::DnnBatchNorm& problem, float epsilon, const NormForward& at) {
  const int64_t rows = problem.n * problem.h * problem.w, stride = paddedRow(problem.c);
  std::vector<float> x = loadRows(at.x, problem.type, rows, problem.c);
  parallelFor(problem.c, [&](int64_t c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < rows; ++i) sum += x[i * stride + c];
    const double mean = sum / rows;
    for (int64_t i = 0; i < rows; ++i) squares += (x[i * stride + c] - mean) * (x[i * stride + c] - mean);
    at.mean[c] = static_cast<float>(mean);
    at.rstd[c] = static_cast<float>(1.0 / std::sqrt(squares / rows + epsilon));
    for (int64_t i = 0; i < rows; ++i) {
      const float y = (x[i * stride + c] - at.mean[c]) * at.rstd[c] * at.gamma[c] + at.beta[c];
      x[i * stride + c] = y;
    }
  });
  storeRows(x, problem.type, rows, problem.c, at.y);
}

void batchNormBackward(const cuda::DnnBatchNorm& problem, const NormBackward& at) {
  const int64_t rows = problem.n * problem.h * problem.w, stride = paddedRow(problem.c);
  const std::vector<float> x = loadRows(at.x, problem.type, rows, problem.c);
  std::vector<float> d = loadRows(at.dy, problem.type, rows, problem.c);
  parallelFor(problem.c, [&](int64_t c) {
    const auto normalized = [&](int64_t i) { return (x[i * stride + c] - at.mean[c]) * at.rstd[c]; };
    double sum = 0, product = 0;
    for (int64_t i = 0; i < rows; ++i) {
      const float dy = d[i * stride + c];
      sum += dy;
      product += static_cast<double>(dy) * normalized(i);
    }
    at.dbeta[c] = static_cast<float>(sum);
    at.dgamma[c] = static_cast<float>(product);
    const float scale = at.gamma[c] * at.rstd[c];
    const float meanSum = static_cast<float>(sum / rows), meanProduct = static_cast<float>(product / rows);
    for (int64_t i = 0; i < rows; ++i)
      d[i * stride + c] = scale * (d[i * stride + c] - meanSum - normalized(i) * meanProduct);
  });
  storeRows(d, problem.type, rows, problem.c, at.dx);
}

}  // namespace kn::emulation
