#pragma once
#include "random.h"
#include "views.h"

namespace kn::op {

/// Batch of images out of a uint8 set [count, C, H, W]: sample i is image indices[cursor·n + i], pasted on a canvas of
/// zeros with `pad` pixels on each side, cropped at offsets drawn from [0, 2·pad), flipped with probability 1/2, minus
/// `mean` [C, H, W], times `scale`, and 0 in a square of `cutout` pixels a side around a pixel that is drawn. Without
/// `augment` only mean and scale. It draws what sample first + i of a larger batch would.
struct Gather {
  const uint8_t* images;
  const int32_t* labels;
  const float* mean;
  const int32_t* indices;
  const int32_t* cursor;
  int64_t imageCount, indexCount;
  Act x;  ///< in the device's imageFormat
  int32_t* y;
  int64_t first, pad, cutout;
  float scale;
  bool augment;
  Random random;
};

}  // namespace kn::op

namespace kn {

struct GatherInput {
  Tensor images, labels, mean, indices, cursor;
  int64_t batch = 0, first = 0, pad = 4, cutout = 0;
  double scale = 1;
  bool augment = false;
  RandomSource random;
};
struct Batch {
  Tensor images, labels;
};
Batch gather(const GatherInput& input);

}  // namespace kn
