#include "loss.h"

#include "checks.h"

namespace kn {

LossResult crossEntropy(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& weights,
                        std::optional<int64_t> ignoreIndex) {
  constexpr const char* fn = "crossEntropy";
  checkFloat(logits, {fn, "logits"});
  require(logits.shape.rank() == 2, ErrorCode::ShapeMismatch, fn, ": logits must have shape [N, classes], got ",
          logits.shape.str());
  Device& device = logits.device();
  const op::Act input = activation(device, logits, {fn, "logits"});
  const int32_t* targets = integers(device, labels, input.n, {fn, "labels"});
  checkShape(labels, {input.n}, {fn, "labels"});
  require(smoothing >= 0 && smoothing <= 1, ErrorCode::InvalidArgument, fn, ": smoothing must be from 0 to 1, got ",
          smoothing);
  const float* factors = weights ? vector(device, weights, input.c, {fn, "weights"}) : nullptr;
  LossResult out{emptyVector(device, 1), emptyVector(device, 1), emptyLike(device, logits)};
  device.launch(op::CrossEntropy{input.values(), targets, out.loss.data(), out.errors.data(), out.dlogits.data(),
                                 input.n, input.c, static_cast<float>(smoothing), factors,
                                 ignoreIndex.value_or(op::CrossEntropy::kNoLabel)});
  return out;
}

}  // namespace kn
