#pragma once
#include <cstdint>

#include "../runtime/tensor.h"

/// What launches are made of: plain values and pointers to device memory, already checked. Null pointers mark optional
/// parts. Statistics vectors are split-major: entry s·C + c.
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
  const void* rounded = nullptr;  ///< the values in the type of activations, where they are kept

  int64_t count() const { return out * in * h * w; }
};

}  // namespace kn::op
