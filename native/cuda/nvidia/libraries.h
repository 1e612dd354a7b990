#pragma once
#include <memory>
#include <string>

#include "../../core/ops/conv2d.h"
#include "../runtime/context.h"

/// What the device leaves to NVIDIA's libraries, behind one seam: the emulation fulfils it with plain loops.
namespace kn::cuda {

enum class Direction : uint8_t { Forward, BackwardData, BackwardWeights };

/// A convolution of NHWC activations with a KRSC filter, of c / groups channels; also the key of its plan. Sums are
/// always kept in float32.
struct Convolution {
  Direction direction = Direction::Forward;
  DType type = DType::F32;             ///< of all three
  bool tf32 = false;                   ///< float32 products may be rounded to TF32
  int64_t n = 0, c = 0, h = 0, w = 0;  ///< x
  int64_t k = 0, r = 0, s = 0;         ///< filter
  int64_t p = 0, q = 0;                ///< height and width of y
  op::ConvShape shape;
  bool operator==(const Convolution&) const = default;
};

/// out[m, n] = a[m, k]·b[k, n] (+ bias[n]), float32, row-major; a and b may be stored transposed.
struct MatrixProduct {
  int64_t m = 0, n = 0, k = 0;
  bool transposeA = false, transposeB = false;
  bool tf32 = false;
  bool operator==(const MatrixProduct&) const = default;
};

/// cuDNN's batch normalization over the whole batch, the peer of our own; NHWC. It wants 16 bytes of channels or a
/// multiple, tensors that begin at a multiple of 16 bytes, and compute capability 8.0.
struct DnnBatchNorm {
  DType type = DType::F32;
  int64_t n = 0, c = 0, h = 0, w = 0;
  bool operator==(const DnnBatchNorm&) const = default;
};

class Libraries {
 public:
  virtual ~Libraries() = default;
  /// Such as "cuDNN 9.24.0, cuBLAS 13.1.1".
  virtual std::string versions() const = 0;
  /// Forward: a = x, b = w, out = y. BackwardData: a = dy, b = w, out = dx. BackwardWeights: a = x, b = dy, out = dw.
  virtual void convolve(Context& context, const Convolution& problem, const void* a, const void* b, void* out) = 0;
  /// `bias` may be null.
  virtual void multiply(Context& context, const MatrixProduct& problem, const float* a, const float* b,
                        const float* bias, float* out) = 0;
  /// Writes the batch's mean and 1/sqrt(variance + epsilon).
  virtual void batchNorm(Context& context, const DnnBatchNorm& problem, float epsilon, const void* x,
                         const float* gamma, const float* beta, void* y, float* mean, float* rstd) = 0;
  virtual void batchNormBackward(Context& context, const DnnBatchNorm& problem, const void* x, const void* dy,
                                 const float* gamma, const float* mean, const float* rstd, void* dx, float* dgamma,
                                 float* dbeta) = 0;
};

struct LibraryOptions {
  bool deterministic = true;  ///< only algorithms that give the same bits at each run
  bool benchmark = false;     ///< time the candidates of a convolution at its first use
};

/// Throws DeviceUnavailable where a library is missing or too old, with the versions found.
std::unique_ptr<Libraries> openLibraries(Context& context, const LibraryOptions& options);

}  // namespace kn::cuda
