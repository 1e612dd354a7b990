#pragma once
#include <memory>

#include "views.h"

namespace kn::op {

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

}  // namespace kn::op

namespace kn {

Tensor uploadFloat(Device& device, const Shape& shape, Format format, const float* values);
Tensor uploadInt(Device& device, const Shape& shape, const int32_t* values);
Tensor uploadBytes(Device& device, const Shape& shape, const uint8_t* values);
/// Overwrites a tensor with row-major values from the host; they may change as soon as it returns, unless `hold` is
/// given: then they are Device::hostMemory that it keeps, and stay as they are until they have been copied.
void write(const Tensor& tensor, const void* values, size_t bytes, std::shared_ptr<void> hold = nullptr);
/// Enqueues the conversion to row-major host memory; `keep` is held until it's done.
void read(const Tensor& tensor, void* values, size_t bytes, std::shared_ptr<void> keep);
Tensor full(Device& device, const Shape& shape, DType dtype, Format format, double value);
void fill(const Tensor& tensor, double value);
/// Whoever has overwritten a tensor says so: where it is a filter with rounded values, they follow.
void written(const Tensor& tensor);
void copy(const Tensor& from, const Tensor& to);
/// The same values, row-major, under another shape and format.
Tensor reshape(const Tensor& tensor, const Shape& shape, Format format);
/// The tensor with so many virtual samples behind its own, for which its memory must have been allocated with room
/// (Device::empty).
Tensor grow(const Tensor& tensor, int64_t virtualSamples);

}  // namespace kn
