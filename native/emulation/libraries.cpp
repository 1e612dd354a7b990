#include "../cuda/nvidia/libraries.h"

#include <algorithm>
#include <cmath>

#include "../cuda/runtime/check.h"
#include "loops.h"
#include "runtime.h"
#include "workers.h"

namespace kn::cuda {
namespace {

using emulation::loadRows;
using emulation::paddedRow;
using emulation::parallelFor;
using emulation::storeRows;

struct Forward {
  const void* x;
  const float *gamma, *beta;
  void* y;
  float *mean, *rstd;
};

struct Backward {
  const void *x, *dy;
  const float *gamma, *mean, *rstd;
  void* dx;
  float *dgamma, *dbeta;
};

void batchNorm(const DnnBatchNorm& problem, float epsilon, const Forward& at) {
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

void batchNormBackward(const DnnBatchNorm& problem, const Backward& at) {
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

/// cuDNN hands a weight gradient of shorter activations out in their type.
void roundGradient(DType type, int64_t count, float* values) {
  if (type == DType::F32) return;
  std::vector<float> row(values, values + count);
  row.resize(paddedRow(count));
  std::vector<uint16_t> stored(count);
  storeRows(row, type, 1, count, stored.data());
  row = loadRows(stored.data(), type, 1, count);
  std::copy_n(row.begin(), count, values);
}

class EmulatedLibraries final : public Libraries {
 public:
  std::string versions() const override { return "emulated"; }

  void convolve(Context& context, const Convolution& problem, const void* a, const void* b, void* out) override {
    run(context, [=] {
      emulation::convolve(problem, a, b, out);
      if (problem.direction == Direction::BackwardWeights) {
        roundGradient(problem.type, problem.filterCount(), static_cast<float*>(out));
      }
    });
  }
  void multiply(Context& context, const MatrixProduct& problem, const float* a, const float* b, const float* bias,
                float* out) override {
    run(context, [=] { emulation::multiply(problem, a, b, bias, out); });
  }
  void batchNorm(Context& context, const DnnBatchNorm& problem, float epsilon, const void* x, const float* gamma,
                 const float* beta, void* y, float* mean, float* rstd) override {
    run(context, [=] { cuda::batchNorm(problem, epsilon, {x, gamma, beta, y, mean, rstd}); });
  }
  void batchNormBackward(Context& context, const DnnBatchNorm& problem, const void* x, const void* dy,
                         const float* gamma, const float* mean, const float* rstd, void* dx, float* dgamma,
                         float* dbeta) override {
    run(context, [=] { cuda::batchNormBackward(problem, {x, dy, gamma, mean, rstd, dx, dgamma, dbeta}); });
  }

 private:
  static void run(Context& context, std::function<void()> work) {
    check(emulation::enqueue(context.stream, std::move(work)), "library call");
  }
};

}  // namespace

std::unique_ptr<Libraries> openLibraries(Context&, const LibraryOptions&) {
  return std::make_unique<EmulatedLibraries>();
}

}  // namespace kn::cuda
