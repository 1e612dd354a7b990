#include "../cuda/nvidia/libraries.h"

#include <algorithm>

#include "../cuda/runtime/check.h"
#include "loops.h"
#include "runtime.h"

namespace kn::cuda {
namespace {

class EmulatedLibraries final : public Libraries {
 public:
  std::string versions() const override { return "emulated"; }

  void convolve(Context& context, const Convolution& problem, const void* a, const void* b, void* out) override {
    run(context, "convolution", [=] { emulation::convolve(problem, a, b, out); });
  }
  void multiply(Context& context, const MatrixProduct& problem, const float* a, const float* b, const float* bias,
                float* out) override {
    run(context, "matrix product", [=] { emulation::multiply(problem, a, b, bias, out); });
  }
  void batchNorm(Context& context, const DnnBatchNorm& problem, float epsilon, const void* x, const float* gamma,
                 const float* beta, void* y, float* mean, float* rstd) override {
    run(context, "cuDNN's batch normalization", [=] {
      emulation::batchNorm(problem, epsilon, {x, gamma, beta, y, mean, rstd});
    });
  }
  void batchNormBackward(Context& context, const DnnBatchNorm& problem, const void* x, const void* dy,
                         const float* gamma, const float* mean, const float* rstd, void* dx, float* dgamma,
                         float* dbeta) override {
    run(context, "cuDNN's batch normalization, backward", [=] {
      emulation::batchNormBackward(problem, {x, dy, gamma, mean, rstd, dx, dgamma, dbeta});
    });
  }

 private:
  static void run(Context& context, const char* name, std::function<void()> work) {
    check(emulation::enqueue(context.stream, name, std::move(work)), "library call");
  }
};

}  // namespace

std::unique_ptr<Libraries> openLibraries(Context&, const LibraryOptions&) {
  return std::make_unique<EmulatedLibraries>();
}

}  // namespace kn::cuda
