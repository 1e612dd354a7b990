#pragma once
#include <cstdint>
#include <limits>

#include "checks.h"

/// Checks shared by the functions that walk over lists of parameters.
namespace kn {

/// The values of a tensor that lies beside `like` (a gradient, a buffer), or is it.
inline float* valuesBeside(Device& device, const Tensor& t, const Tensor& like, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  checkShape(t, like.shape, name);
  require(t.format == like.format, ErrorCode::InvalidArgument, name, " must have the ", formatName(like.format),
          " format, got ", formatName(t.format));
  require(t.stored == DType::F32, ErrorCode::DTypeMismatch, name, " must be stored as float32, got ",
          dtypeName(t.stored));
  return t.data();
}

/// How many values lie in memory: kernels count them with 32 bits.
inline int32_t parameterCount(const Device& device, const Tensor& t, Name name) {
  const int64_t count = device.physicalCount(t.shape, t.format);
  require(count <= std::numeric_limits<int32_t>::max(), ErrorCode::InvalidArgument, name,
          " must have fewer than 2^31 values, got shape ", t.shape.str());
  return static_cast<int32_t>(count);
}

/// What is left of an average's decay for the newest values.
inline float averageShareOf(double decay, Name name) {
  require(decay >= 0 && decay < 1, ErrorCode::InvalidArgument, name, " must be at least 0 and below 1, got ", decay);
  return static_cast<float>(1 - decay);
}

inline float notNegative(double value, Name name) {
  require(std::isfinite(value) && value >= 0, ErrorCode::InvalidArgument, name,
          " must be a finite number of at least 0, got ", value);
  return static_cast<float>(value);
}

}  // namespace kn
