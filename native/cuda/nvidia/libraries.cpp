#include "libraries.h"

#include <limits>

#include "dnn_plans.h"
#include "../runtime/handles.h"
#include "../device/kernels.h"
#include "matmul.h"
#include "plan_key.h"

namespace kn::cuda {
namespace {

/// Runs of a candidate that are timed together, after one that is not.
constexpr int kTimedRuns = 5;

struct DnnDestroy {
  void operator()(cudnnHandle_t handle) const { cudnnDestroy(handle); }
};
using DnnHandle = std::unique_ptr<std::remove_pointer_t<cudnnHandle_t>, DnnDestroy>;

DnnHandle openDnn(cudaStream_t stream) {
  cudnnHandle_t handle = nullptr;
  dnn::check(cudnnCreate(&handle), "cudnnCreate");
  DnnHandle owner(handle);
  dnn::check(cudnnSetStream(handle, stream), "cudnnSetStream");
  return owner;
}

bool capturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  KN_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

bool healthy(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return succeeded(cudaStreamIsCapturing(stream, &status)) && status != cudaStreamCaptureStatusInvalidated;
}

/// cuDNN's bindings have no const; a plan writes its outputs alone.
void* unconst(const void* data) { return const_cast<void*>(data); }

/// What cuDNN's normalizations are told of all addresses.
template <class... Data>
void requireAligned(const Data*... data) {
  require(alignmentOf(16, data...) == 16, ErrorCode::InvalidArgument,
          "cuDNN's batch normalization needs tensors that begin at a multiple of 16 bytes");
}

class NvidiaLibraries final : public Libraries {
 public:
  NvidiaLibraries(cudaStream_t stream, const LibraryOptions& options)
      : dnn_(openDnn(stream)),
        stream_(stream),
        plans_({dnn_.get(), nullptr}, options.deterministic),
        benchmark_(options.benchmark) {}

  std::string versions() const override {
    return "cuDNN " + dnn::versionText(cudnnGetVersion()) + ", cuBLAS " + dnn::versionText(cublasLtGetVersion());
  }

  void convolve(Context& context, const Convolution& problem, const void* a, const void* b, void* out) override {
    const Bindings bindings = {{dnn::id::A, unconst(a)}, {dnn::id::B, unconst(b)}, {dnn::id::Out, out}};
    dnn::Plans::Timer timer;
    if (benchmark_ && !capturing(context.stream)) {
      timer = [&](const dnn::Plan& plan) { return milliseconds(context, plan, bindings); };
    }
    execute(context, plans_.convolution(problem, alignmentOf(16, a, b, out), timer), bindings);
  }

  void multiply(Context& context, const MatrixProduct& problem, const float* a, const float* b, const float* bias,
                float* out) override {
    products_.run(context, problem, a, b, bias, out);
  }

  void batchNorm(Context& context, const DnnBatchNorm& problem, float epsilon, const void* x, const float* gamma,
                 const float* beta, void* y, float* mean, float* rstd) override {
    namespace id = dnn::id;
    requireAligned(x, y, gamma, beta, mean, rstd);
    execute(context, plans_.batchNorm(problem, false),
            {{id::X, unconst(x)},
             {id::Gamma, unconst(gamma)},
             {id::Beta, unconst(beta)},
             {id::Epsilon, &epsilon},
             {id::Y, y},
             {id::Mean, mean},
             {id::Rstd, rstd}});
  }

  void batchNormBackward(Context& context, const DnnBatchNorm& problem, const void* x, const void* dy,
                         const float* gamma, const float* mean, const float* rstd, void* dx, float* dgamma,
                         float* dbeta) override {
    namespace id = dnn::id;
    requireAligned(x, dy, dx, gamma, mean, rstd, dgamma, dbeta);
    execute(context, plans_.batchNorm(problem, true),
            {{id::X, unconst(x)},
             {id::Dy, unconst(dy)},
             {id::Gamma, unconst(gamma)},
             {id::Mean, unconst(mean)},
             {id::Rstd, unconst(rstd)},
             {id::Dx, dx},
             {id::Dgamma, dgamma},
             {id::Dbeta, dbeta}});
  }

 private:
  using Bindings = std::initializer_list<dnn::Binding>;

  /// Where a plan fails, in cuDNN or for want of memory, the next one is tried.
  void execute(Context& context, dnn::Plans::Choice& choice, Bindings bindings) {
    for (;;) {
      try {
        return execute(context, choice.current(), bindings);
      } catch (const Error&) {
        cudaGetLastError();
        // A device that has failed, or a capture that is lost, does no better with another plan.
        if (!healthy(context.stream) || !choice.next()) throw;
      }
    }
  }

  void execute(Context& context, const dnn::Plan& plan, Bindings bindings) {
    if (context.stream != stream_) {
      dnn::check(cudnnSetStream(dnn_.get(), context.stream), "cudnnSetStream");
      stream_ = context.stream;
    }
    const auto workspace = plan.workspaceBytes() > 0 ? context.scratch(plan.workspaceBytes()) : nullptr;
    plan.execute(dnn_.get(), bindings, workspace ? workspace->data : nullptr);
  }

  float milliseconds(Context& context, const dnn::Plan& plan, Bindings bindings) {
    try {
      execute(context, plan, bindings);
      const Event start = recordEvent(context.stream, cudaEventDefault);
      for (int i = 0; i < kTimedRuns; ++i) execute(context, plan, bindings);
      const Event stop = recordEvent(context.stream, cudaEventDefault);
      KN_CUDA_CHECK(cudaEventSynchronize(stop.get()));
      float time = 0;
      KN_CUDA_CHECK(cudaEventElapsedTime(&time, start.get(), stop.get()));
      return time;
    } catch (const Error&) {
      return std::numeric_limits<float>::infinity();
    }
  }

  DnnHandle dnn_;
  cudaStream_t stream_;  ///< of the handle
  dnn::Plans plans_;
  MatrixProducts products_;
  const bool benchmark_;
};

}  // namespace

std::unique_ptr<Libraries> openLibraries(Context& context, const LibraryOptions& options) {
  dnn::requireVersion(cudnnGetVersion());
  requireBlasVersion(cublasLtGetVersion());
  try {
    return std::make_unique<NvidiaLibraries>(context.stream, options);
  } catch (const Error& error) {
    throw Error(ErrorCode::DeviceUnavailable, "cuDNN " + dnn::versionText(cudnnGetVersion()) + " and cuBLAS " +
                                                  dnn::versionText(cublasLtGetVersion()) +
                                                  " were found, but can't be used: " + error.what());
  }
}

}  // namespace kn::cuda
