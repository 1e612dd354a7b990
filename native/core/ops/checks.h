#pragma once
#include <cmath>
#include <initializer_list>

#include "../runtime/device.h"
#include "random.h"

/// Checks shared by the functions of every op family. Each returns the launch's view of a tensor and, while a step is
/// recorded, keeps the tensor's memory alive.
namespace kn {

/// The argument as named in messages: "function: argument".
struct Name {
  const char* function;
  const char* argument;
};
inline std::ostream& operator<<(std::ostream& out, const Name& name) {
  return out << name.function << ": " << name.argument;
}

inline void checkAlive(const Tensor& t, Name name) {
  require(static_cast<bool>(t), ErrorCode::Disposed, name, " is disposed or missing");
}

inline void checkFloat(const Tensor& t, Name name) {
  checkAlive(t, name);
  require(t.dtype == DType::F32, ErrorCode::DTypeMismatch, name, " must be float32, got ", dtypeName(t.dtype));
}

inline void checkDevice(const Device& device, const Tensor& t, Name name) {
  require(&t.device() == &device, ErrorCode::DeviceMismatch, name, " is on another device (", t.device().name(),
          ") than the other arguments (", device.name(), ")");
  if (device.recording()) const_cast<Device&>(device).retain(t);
}

inline void checkShape(const Tensor& t, const Shape& expected, Name name) {
  require(t.shape == expected, ErrorCode::ShapeMismatch, name, " must have shape ", expected.str(), ", got ",
          t.shape.str());
}

/// Features [N, C, H, W] or [N, C].
inline op::Act activation(Device& device, const Tensor& t, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  require(t.shape.rank() == 4 || t.shape.rank() == 2, ErrorCode::ShapeMismatch, name,
          " must have shape [N, C, H, W] or [N, C], got ", t.shape.str());
  const bool matrix = t.shape.rank() == 2;
  require(matrix || t.format == Format::Activation, ErrorCode::InvalidArgument, name,
          " must have the activation format, got ", formatName(t.format));
  return {t.data<void>(),          t.shape[0],         t.shape[1], matrix ? 1 : t.shape[2],
          matrix ? 1 : t.shape[3], Format::Activation, t.stored};
}

inline op::Act activation4(Device& device, const Tensor& t, Name name) {
  require(!t || t.shape.rank() == 4, ErrorCode::ShapeMismatch, name, " must have shape [N, C, H, W], got ",
          t.shape.str());
  return activation(device, t, name);
}

/// As `activation`, of the shape of another.
inline op::Act activationLike(Device& device, const Tensor& t, const Tensor& other, Name name) {
  const op::Act act = activation(device, t, name);
  checkShape(t, other.shape, name);
  return act;
}

inline void* roundedValues(const Tensor& filter) {
  return filter.storage->rounded ? filter.storage->rounded->data : nullptr;
}

/// A filter [out, in, height, width].
inline op::Filter filter(Device& device, const Tensor& t, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  require(t.shape.rank() == 4 && t.format == Format::Filter, ErrorCode::ShapeMismatch, name,
          " must be a filter [out, in, height, width], got ", formatName(t.format), " ", t.shape.str());
  return {t.data(), t.shape[0], t.shape[1], t.shape[2], t.shape[3], roundedValues(t)};
}

/// A plain vector of `count` float32 values.
inline float* vector(Device& device, const Tensor& t, int64_t count, Name name) {
  checkFloat(t, name);
  checkDevice(device, t, name);
  checkShape(t, Shape{count}, name);
  return t.data();
}

inline float* optionalVector(Device& device, const Tensor& t, int64_t count, Name name) {
  return t ? vector(device, t, count, name) : nullptr;
}

inline const int32_t* integers(Device& device, const Tensor& t, int64_t atLeast, Name name) {
  checkAlive(t, name);
  checkDevice(device, t, name);
  require(t.dtype == DType::I32, ErrorCode::DTypeMismatch, name, " must be int32, got ", dtypeName(t.dtype));
  require(t.count() >= atLeast, ErrorCode::ShapeMismatch, name, " must have at least ", atLeast, " values, got shape ",
          t.shape.str());
  return t.data<int32_t>();
}

inline void checkFinite(double value, Name name) {
  require(std::isfinite(value), ErrorCode::InvalidArgument, name, " must be a finite number, got ", value);
}

/// epsilon and the like: finite and above zero.
inline float positive(double value, Name name) {
  require(std::isfinite(value) && value > 0, ErrorCode::InvalidArgument, name, " must be a positive number, got ",
          value);
  return static_cast<float>(value);
}

inline float fraction(double value, Name name) {
  require(value >= 0 && value <= 1, ErrorCode::InvalidArgument, name, " must be between 0 and 1, got ", value);
  return static_cast<float>(value);
}

inline void checkSplits(int64_t splits, int64_t samples, Name name) {
  require(splits >= 1, ErrorCode::InvalidArgument, name, " must be at least 1, got ", splits);
  require(samples % splits == 0 && samples > 0, ErrorCode::InvalidArgument, name,
          " must divide the number of samples; ", samples, " samples can't be cut into ", splits, " equal parts");
}

/// A result of the shape and format of `t`.
inline Tensor emptyLike(Device& device, const Tensor& t, int64_t virtualSamples = 0) {
  return device.empty(t.shape, DType::F32, t.format, virtualSamples);
}

inline Tensor emptyVector(Device& device, int64_t count) { return device.empty({count}, DType::F32, Format::Plain); }

inline MeanVar emptyMeanVar(Device& device, int64_t count) {
  return {emptyVector(device, count), emptyVector(device, count)};
}

inline float* dataOrNull(const Tensor& t) { return t ? t.data() : nullptr; }

inline Random randomOf(Device& device, const RandomSource& source, Name name) {
  return {integers(device, source.state, 3, name), source.stream};
}

}  // namespace kn
