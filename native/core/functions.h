#pragma once
#include <optional>
#include <vector>

#include "device.h"

/// The operations of the library: each checks its arguments, allocates its results and launches. An empty Tensor stands
/// for an optional argument that isn't given. One source file an op family.
namespace kn {

/// State [3] (int32) of a generator and the number of the draw within a step.
struct RandomSource {
  Tensor state;
  uint32_t stream = 0;
};

// memory.cpp
Tensor uploadFloat(Device& device, const Shape& shape, Format format, const float* values);
Tensor uploadInt(Device& device, const Shape& shape, const int32_t* values);
Tensor uploadBytes(Device& device, const Shape& shape, const uint8_t* values);
/// Overwrites a tensor with row-major values from the host.
void write(const Tensor& tensor, const void* values, size_t bytes);
/// Enqueues the conversion to row-major host memory; `keep` is held until it's done.
void read(const Tensor& tensor, void* values, size_t bytes, std::shared_ptr<void> keep);
Tensor full(Device& device, const Shape& shape, DType dtype, Format format, double value);
void fill(const Tensor& tensor, double value);
void copy(const Tensor& from, const Tensor& to);
/// The same values, row-major, under another shape and format.
Tensor reshape(const Tensor& tensor, const Shape& shape, Format format);
/// The tensor with `extra` more samples, for which its memory must have been allocated with room (Device::empty).
Tensor grow(const Tensor& tensor, int64_t extra);
void advance(const Tensor& counter, int64_t by);
void append(const Tensor& value, const Tensor& cursor, const Tensor& history);

// elementwise.cpp
Tensor add(const Tensor& a, const Tensor& b);
void addInto(const Tensor& target, const Tensor& other);
Tensor scale(const Tensor& x, double factor);
/// x times a tensor of one value.
Tensor scaleBy(const Tensor& x, const Tensor& factor);
Tensor relu(const Tensor& x);
Tensor reluBackward(const Tensor& y, const Tensor& dy);
Tensor sigmoid(const Tensor& x);
Tensor sigmoidBackward(const Tensor& y, const Tensor& dy);

// conv2d.cpp
Tensor conv2d(const Tensor& x, const Tensor& w, const op::ConvShape& shape);
Tensor conv2dBackwardData(const Tensor& dy, const Tensor& w, const Tensor& x, const op::ConvShape& shape);
Tensor conv2dBackwardWeights(const Tensor& x, const Tensor& dy, const Tensor& w, const op::ConvShape& shape);

// linear.cpp
struct LinearGradients {
  Tensor dx, dw, db;
};
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);
LinearGradients linearBackward(const Tensor& x, const Tensor& w, const Tensor& dy, bool needDx, bool bias);

// pool.cpp
Tensor avgPool(const Tensor& x, int64_t size);
Tensor avgPoolBackward(const Tensor& dy, const Tensor& x, int64_t size, int64_t extraSamples);
Tensor globalAvgPool(const Tensor& x);
Tensor globalAvgPoolBackward(const Tensor& dy, const Tensor& x, int64_t extraSamples);
Tensor padChannels(const Tensor& x, int64_t before, int64_t after);
Tensor padChannelsBackward(const Tensor& dy, const Tensor& x, int64_t before);
Tensor padBelief(const Tensor& x, int64_t splits, int64_t before, int64_t after, bool aligned);
Tensor padBeliefBackward(const Tensor& dy, const Tensor& x, int64_t splits, int64_t before, int64_t after,
                         bool aligned);

// moments.cpp
struct MeanVar {
  Tensor mean, var;
};
MeanVar moments(const Tensor& x, int64_t splits);
/// Writes into `dx` where it is given, else allocates.
Tensor momentsBackward(const Tensor& x, int64_t splits, const Tensor& mean, const Tensor& dmean, const Tensor& dvar,
                       const Tensor& dx);
/// a + b; in place of b where `inPlace`. Moments are computed where splits > 0.
struct AddResult {
  Tensor out;
  MeanVar moments;
};
AddResult addMoments(const Tensor& a, const Tensor& b, int64_t splits, bool inPlace);
void runningUpdate(const Tensor& mean, const Tensor& var, const Tensor& runningMean, const Tensor& runningVar,
                   int64_t splits, double momentum, double correction, bool allSplits);

// batch_norm.cpp
struct NormResult {
  Tensor y;
  MeanVar moments;
};
struct NormGradients {
  Tensor dx, dgamma, dbeta;
};
/// gamma and beta may both be empty (no affine part) in all normalizations.
NormResult batchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t splits, double epsilon,
                     bool relu, const MeanVar& given);
/// `add` is added to dx; dx gets room for `extraSamples` behind it.
NormGradients batchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t splits, double epsilon, bool relu, const Tensor& add,
                                int64_t extraSamples);
/// By cuDNN, over the whole batch; gamma and beta are needed.
struct DnnNormResult {
  Tensor y, mean, rstd, var;
};
DnnNormResult dnnBatchNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon, bool relu);
NormGradients dnnBatchNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                   const Tensor& mean, const Tensor& rstd, bool relu);
Tensor normalize(const Tensor& x, const Tensor& gamma, const Tensor& beta, const MeanVar& moments, double epsilon,
                 bool relu);
NormGradients normalizeBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, double epsilon, bool relu);

// group_norm.cpp
NormResult groupNorm(const Tensor& x, const Tensor& gamma, const Tensor& beta, int64_t groups, double epsilon,
                     bool relu);
NormGradients groupNormBackward(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta,
                                const MeanVar& moments, int64_t groups, double epsilon, bool relu, const Tensor& add,
                                int64_t extraSamples);

// kalman.cpp
struct KalmanOptions {
  int64_t splits = 1;
  bool tail = false;     ///< x carries one virtual sample per split, whose moments are the prior
  bool sample = false;   ///< y carries one sample of the rectified posterior per split
  double gain = 0.1;     ///< used where the gain tensor is empty
  double guard = 100, epsilon = 1e-5;
  bool relu = false;
};
struct KalmanResult {
  Tensor y;
  MeanVar prior, observation, posterior;
  Tensor ratio;  ///< [2]: guard ratio, 1 where the prior was used
};
struct KalmanInput {
  Tensor x, gamma, beta, gain;
  MeanVar prior;        ///< empty in the first layer and with a tail
  MeanVar observation;  ///< empty unless known already
  RandomSource random;
  Tensor noise;
};
KalmanResult kalmanUpdate(const KalmanInput& input, const KalmanOptions& options);
struct KalmanGradients {
  Tensor dx, dgamma, dbeta, dgain;
  MeanVar dprior;
};
KalmanGradients kalmanUpdateBackward(const KalmanInput& input, const KalmanResult& result, const Tensor& dy,
                                     const MeanVar& dposterior, const KalmanOptions& options, const Tensor& add,
                                     int64_t extraSamples);

// transition.cpp
Tensor samplePrior(const MeanVar& prior, int64_t splits, int64_t height, int64_t width, const RandomSource& random,
                   const Tensor& noise);
MeanVar samplePriorBackward(const MeanVar& prior, const Tensor& y, const Tensor& dy);
MeanVar transition(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height, int64_t width,
                   const op::ConvShape& shape);
struct TransitionGradients {
  MeanVar dbelief;
  Tensor dw;
};
TransitionGradients transitionBackward(const MeanVar& belief, const Tensor& w, int64_t splits, int64_t height,
                                       int64_t width, const op::ConvShape& shape, const MeanVar& dout);

// loss.cpp
struct LossResult {
  Tensor loss, errors, dlogits;
};
LossResult softmaxCrossEntropy(const Tensor& logits, const Tensor& labels);

// sgd.cpp
struct SgdTensors {
  Tensor weight, gradient, momentum;
  double weightDecay = 0;
};
/// `lossScale` (may be empty): state of a loss scale, by which gradients are divided; see op::CheckFinite.
void sgd(const std::vector<SgdTensors>& parameters, const Tensor& learningRate, double momentum,
         const Tensor& lossScale);
void checkFinite(const std::vector<Tensor>& gradients, const Tensor& lossScale);
void updateLossScale(const Tensor& lossScale, double growth, double backoff, int64_t interval);

// gather.cpp
struct GatherInput {
  Tensor images, labels, mean, indices, cursor;
  int64_t batch = 0, pad = 4;
  double scale = 1;
  bool augment = false;
  RandomSource random;
};
struct Batch {
  Tensor images, labels;
};
Batch gather(const GatherInput& input);

}  // namespace kn
