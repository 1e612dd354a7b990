#pragma once
#include <vector>

#include "host_device.h"
#include "views.h"

namespace kn {

/// The share that the newest values get after `updates` updates; at least 1 - (1 + updates) / (10 + updates), if it
/// warms up.
KN_HOST_DEVICE inline float averageShare(float share, bool warmUp, int32_t updates) {
  const float early = 9.0f / (10.0f + static_cast<float>(updates));
  return warmUp && early > share ? early : share;
}

}  // namespace kn

namespace kn::op {

struct AveragedTensor {
  float* average;
  const float* value;
  float scale;
  int32_t count;
};
/// average += share·(scale·value - average), by averageShare.
struct Average {
  std::vector<AveragedTensor> tensors;
  const int32_t* updates;  ///< how many there were
  float share;
  bool warmUp;
};

}  // namespace kn::op

namespace kn {

struct AverageTensors {
  Tensor average, value;
  double scale = 1;  ///< of the value
};
/// An exponential moving average, one update, in place. `updates` (int32) is read only.
void average(const std::vector<AverageTensors>& tensors, const Tensor& updates, double decay, bool warmUp);

}  // namespace kn
