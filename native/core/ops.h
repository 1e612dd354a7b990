#pragma once
#include <cstdint>
#include <vector>

#include "philox.h"
#include "tensor.h"

/// The launches a device must know: plain values and pointers to device memory, already checked. Null pointers mark
/// optional parts. Statistics vectors are split-major: entry s·C + c.
namespace kn::op {

/// An activation of `n` samples; a matrix has h = w = 1. The physical layout follows from `format` and the device.
struct Act {
  void* data = nullptr;
  int64_t n = 0, c = 0, h = 1, w = 1;
  Format format = Format::Activation;
  DType stored = DType::F32;

  int64_t pixels() const { return h * w; }
  int64_t count() const { return n * c * h * w; }
  template <class T = float>
  T* values() const {
    return static_cast<T*>(data);
  }
  /// Samples [from, from + count).
  Act samples(int64_t from, int64_t count) const {
    const int64_t bytes = from * c * h * w * static_cast<int64_t>(dtypeSize(stored));
    return {static_cast<char*>(data) + bytes, count, c, h, w, format, stored};
  }
};

/// Values of a tensor of any shape, in whatever order it has.
struct Values {
  void* data = nullptr;
  int64_t count = 0;
  DType stored = DType::F32;

  template <class T = float>
  T* values() const {
    return static_cast<T*>(data);
  }
};

struct Filter {
  float* data = nullptr;
  int64_t out = 0, in = 0, h = 0, w = 0;

  int64_t count() const { return out * in * h * w; }
};

// --- memory and elementwise -----------------------------------------------------------------------------------------

struct Fill {
  void* data;
  int64_t count;
  uint32_t bits;  ///< the value's, as many as `size` (in bytes) says
  size_t size;
};
struct Copy {
  const void* from;
  void* to;
  size_t bytes;
};
/// Between row-major float32 values and the device's own layout.
struct Transfer {
  Act act;
  Filter filter;
  Format format;
  float* plain;
  bool upload;  ///< from `plain` into the device's layout
  bool host;    ///< `plain` is memory of the host, not of the device
};
/// `out` may be a or b.
struct Add {
  Values a, b, out;
};
struct Scale {
  Values x, out;
  float factor;
  const float* by;  ///< a second factor, in device memory; may be null
};
struct Relu {
  Values x, y;
};
struct ReluBackward {
  Values y, dy, dx;
};
/// 1 / (1 + exp(-x))
struct Sigmoid {
  Values x, y;
};
struct SigmoidBackward {
  Values y, dy, dx;
};
/// counter += by
struct Advance {
  int32_t* counter;
  int32_t by;
};
/// history[cursor] = value; nothing where the cursor is outside
struct Append {
  const float* value;
  const int32_t* cursor;
  float* history;
  int64_t capacity;
};

// --- convolution, linear --------------------------------------------------------------------------------------------

struct ConvShape {
  int64_t strideH = 1, strideW = 1, top = 0, left = 0, bottom = 0, right = 0;
  bool operator==(const ConvShape&) const = default;
};
struct Conv2d {
  Act x;
  Filter w;
  Act y;
  ConvShape shape;
};
struct Conv2dBackwardData {
  Act dy;
  Filter w;
  Act dx;
  ConvShape shape;
};
struct Conv2dBackwardWeights {
  Act x, dy;
  Filter dw;
  ConvShape shape;
};
/// y = x·w + b, w [in, out] row-major
struct Linear {
  const float *x, *w, *b;
  float* y;
  int64_t n, in, out;
};
struct LinearBackward {
  const float *x, *w, *dy;
  float *dx, *dw, *db;  ///< each may be null
  int64_t n, in, out;
};

// --- pooling and shortcuts ------------------------------------------------------------------------------------------

/// Mean over windows of size × size, stride size; incomplete windows are dropped.
struct AvgPool {
  Act x, y;
  int64_t size;
};
struct AvgPoolBackward {
  Act dy, dx;
  int64_t size;
};
struct GlobalAvgPool {
  Act x, y;
};
struct GlobalAvgPoolBackward {
  Act dy, dx;
};
/// y = [zeros of `before` channels, x, zeros]
struct PadChannels {
  Act x, y;
  int64_t before;
};
struct PadChannelsBackward {
  Act dy, dx;
  int64_t before;
};
/// Widens a belief by zero channels. Aligned: split s, channel c moves to split s, channel before + c. Otherwise the
/// flat vector moves by S·before, as in the reference code.
struct PadBelief {
  const float* x;
  float* y;
  int64_t splits, channels, before, after;
  bool aligned;
};
struct PadBeliefBackward {
  const float* dy;
  float* dx;
  int64_t splits, channels, before, after;
  bool aligned;
};

// --- statistics and normalization -----------------------------------------------------------------------------------

/// Mean and biased variance per split and channel.
struct Moments {
  Act x;
  int64_t splits;
  float *mean, *var;
};
struct MomentsBackward {
  Act x;
  int64_t splits;
  const float *mean, *dmean, *dvar;
  Act dx;
};
/// out = a + b, and the moments of out in the same pass where `mean` is given. out may be a or b.
struct AddMoments {
  Act a, b, out;
  int64_t splits;
  float *mean, *var;
};
/// y = (x - mean)·gamma·rsqrt(var + epsilon) + beta, then ReLU where asked, with statistics that are given (inference).
struct Normalize {
  Act x, y;
  const float *mean, *var, *gamma, *beta;
  float epsilon;
  bool relu;
};
struct NormalizeBackward {
  Act x, dy, dx;
  const float *mean, *var, *gamma, *beta;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};
/// Normalization with the statistics of each split. `mean` and `var` (biased) are read where `haveMoments`, else
/// written.
struct BatchNorm {
  Act x, y;
  int64_t splits;
  const float *gamma, *beta;
  float *mean, *var;
  bool haveMoments;
  float epsilon;
  bool relu;
};
/// `add` (without data where there is none) is added to dx: the gradient that x has from elsewhere.
struct BatchNormBackward {
  Act x, dy, dx, add;
  int64_t splits;
  const float *gamma, *beta, *mean, *var;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};
/// Batch normalization over the whole batch by the device's own library (cuDNN), to measure ours against.
struct DnnBatchNorm {
  Act x, y;
  const float *gamma, *beta;
  float *mean, *rstd, *var;  ///< rstd = 1 / sqrt(var + epsilon)
  float epsilon;
  bool relu;
};
struct DnnBatchNormBackward {
  Act x, dy, dx;
  const float *gamma, *beta, *mean, *rstd;
  float *dgamma, *dbeta;
  bool relu;
};
/// Statistics per sample and group of channels; `mean` and `var` are [N·G].
struct GroupNorm {
  Act x, y;
  int64_t groups;
  const float *gamma, *beta;
  float *mean, *var;
  float epsilon;
  bool relu;
};
struct GroupNormBackward {
  Act x, dy, dx, add;
  int64_t groups;
  const float *gamma, *beta, *mean, *var;
  float *dgamma, *dbeta;
  float epsilon;
  bool relu;
};
/// running += momentum·(s - running), s from split 0 or the mean over the splits; the variance is multiplied by
/// `correction` (n / (n - 1), or 1 where it is unbiased already).
struct RunningUpdate {
  const float *mean, *var;
  float *runningMean, *runningVar;
  int64_t splits, channels;
  float momentum, correction;
  bool allSplits;
};

// --- Kalman filter over depth ---------------------------------------------------------------------------------------

/// The statistics of one Kalman layer. With `tail`, x holds one virtual sample per split behind the real ones, whose
/// moments are the prior (written); else the prior is given, or null in the first layer.
struct KalmanState {
  float *priorMean, *priorVar;
  float *obsMean, *obsVar;
  float *postMean, *postVar;
  float* ratio;  ///< [2]: mean(prior variance / batch variance), and 1 where the prior was used
};
struct KalmanUpdate {
  Act x;  ///< real samples, then `splits` virtual ones where `tail`
  Act y;  ///< real samples, then `splits` samples of the rectified posterior where `sample`
  int64_t splits;
  bool tail, sample, haveMoments;
  KalmanState state;
  const float *gamma, *beta;
  const float* gain;  ///< per channel; null for `fixedGain`
  float fixedGain;
  float guard, epsilon;
  bool relu;
  Random random;
  Act noise;  ///< normal values instead of `random`, where it has data
};
struct KalmanUpdateBackward {
  Act x, y, dy, dx;
  Act add;  ///< gradient of the real samples from elsewhere, added to dx; may have no data
  int64_t splits;
  bool tail, sample;
  KalmanState state;
  const float *gamma, *beta;
  const float* gain;
  float fixedGain;
  float epsilon;
  bool relu;
  const float *dpostMean, *dpostVar;  ///< from elsewhere; may be null
  float *dpriorMean, *dpriorVar;      ///< null where there is no given prior
  float *dgamma, *dbeta, *dgain;
};
/// y = relu(z·sqrt(var) + mean): `splits` samples of the rectified Gaussian.
struct SamplePrior {
  const float *mean, *var;
  Act y;
  Random random;
  Act noise;
};
struct SamplePriorBackward {
  const float *mean, *var;
  Act y, dy;
  float *dmean, *dvar;
};

/// The moments of a convolution of independent rectified Gaussians, in closed form: what the moments over the positions
/// of a sampled image are on average (biased variance over the positions).
struct Transition {
  const float *mean, *var;  ///< [splits·w.in], before the ReLU
  int64_t splits, height, width;
  Filter w;
  ConvShape shape;
  float *outMean, *outVar;  ///< [splits·w.out]
};
struct TransitionBackward {
  const float *mean, *var;
  int64_t splits, height, width;
  Filter w;
  ConvShape shape;
  const float *doutMean, *doutVar;
  float *dmean, *dvar;
  Filter dw;
};

// --- loss, optimiser, data ------------------------------------------------------------------------------------------

/// loss[0] = mean cross-entropy, errors[0] = samples whose label isn't the first of the largest logits.
struct SoftmaxCrossEntropy {
  const float* logits;
  const int32_t* labels;
  float *loss, *errors, *dlogits;
  int64_t n, classes;
};
/// state[0]: the factor on the loss; state[1]: steps since it changed; state[2]: 1 where a gradient of this step isn't
/// finite, so that the step is left out.
using LossScale = float*;
/// Writes state[2].
struct CheckFinite {
  struct Gradient {
    const float* data;
    int64_t count;
  };
  std::vector<Gradient> gradients;
  LossScale state;
};
/// After a step: factor·backoff where it was left out, factor·growth after `interval` good ones; within [1, 2^24].
struct UpdateLossScale {
  LossScale state;
  float growth, backoff, interval;
};
struct SgdParameter {
  float *w, *momentum;
  const float* gradient;
  int64_t count;
  float weightDecay;
};
/// momentum = factor·momentum + gradient + decay·w; w -= lr·momentum. With a loss scale the gradient is divided by it.
struct Sgd {
  std::vector<SgdParameter> parameters;
  const float* learningRate;
  float momentum;
  const float* lossScale;  ///< LossScale; may be null
};
/// Batch of images out of a uint8 set [count, C, H, W]: sample i is image indices[cursor·n + i], pasted on a canvas of
/// zeros with `pad` pixels on each side, cropped at offsets drawn from [0, 2·pad), flipped with probability 1/2, minus
/// `mean` [C, H, W], times `scale`. Without `augment` only the last two.
struct Gather {
  const uint8_t* images;
  const uint8_t* labels;
  const float* mean;
  const int32_t* indices;
  const int32_t* cursor;
  int64_t imageCount, indexCount;
  Act x;  ///< in the device's imageFormat
  int32_t* y;
  int64_t pad;
  float scale;
  bool augment;
  Random random;
};

}  // namespace kn::op
