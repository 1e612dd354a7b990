#include "memory.h"

#include <cmath>
#include <cstring>

#include "checks.h"

namespace kn {
namespace {

bool rowMajor(const Tensor& t) { return t.format == Format::Plain || t.dtype != DType::F32 || t.shape.rank() <= 2; }

op::Transfer transfer(const Tensor& t, float* plain, bool upload, bool host) {
  op::Transfer transfer{{}, {}, t.format, plain, upload, host};
  if (t.format == Format::Filter) {
    transfer.filter = {t.data(), t.shape[0], t.shape[1], t.shape[2], t.shape[3]};
  } else {
    transfer.act = {t.data<void>(), t.shape[0], t.shape[1], t.shape[2], t.shape[3], t.format, t.stored};
  }
  return transfer;
}

void checkFormat(const Shape& shape, Format format) {
  const bool fits = format == Format::Plain || (format == Format::Filter && shape.rank() == 4) ||
                    (format == Format::Activation && (shape.rank() == 2 || shape.rank() == 4));
  require(fits, ErrorCode::ShapeMismatch, "shape: ", shape.str(), " can't have the ", formatName(format), " format");
}

Tensor upload(Device& device, const Shape& shape, DType dtype, Format format, const void* values) {
  checkFormat(shape, format);
  Tensor t = device.empty(shape, dtype, format);
  if (format == Format::Filter) device.addRounded(t);
  write(t, values, shape.count() * dtypeSize(dtype));
  return t;
}

void checkBytes(const Tensor& t, size_t bytes, Name name) {
  require(bytes == t.count() * dtypeSize(t.dtype), ErrorCode::ShapeMismatch, name, " must hold ", t.count(), " ",
          dtypeName(t.dtype), " values for shape ", t.shape.str(), ", got ", bytes / dtypeSize(t.dtype));
}

void checkValue(DType dtype, double value) {
  const bool fits = dtype == DType::F32 ||
                    (std::trunc(value) == value &&
                     (dtype == DType::U8 ? value >= 0 && value <= 255 : value >= INT32_MIN && value <= INT32_MAX));
  require(fits, ErrorCode::InvalidArgument, "fill: value must be a whole number within ", dtypeName(dtype), ", got ",
          value);
}

uint32_t bitsOf(DType dtype, double value) {
  uint32_t bits = 0;
  const auto single = static_cast<float>(value);
  if (dtype == DType::F32) {
    std::memcpy(&bits, &single, 4);
  } else if (dtype == DType::F16) {
    const auto half = static_cast<_Float16>(single);
    std::memcpy(&bits, &half, 2);
  } else if (dtype == DType::BF16) {
    std::memcpy(&bits, &single, 4);
    // To the nearest, ties to even; a NaN stays one.
    bits = std::isnan(single) ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  } else {
    bits = static_cast<uint32_t>(static_cast<int64_t>(value));
  }
  return bits;
}

}  // namespace

Tensor uploadFloat(Device& device, const Shape& shape, Format format, const float* values) {
  return upload(device, shape, DType::F32, format, values);
}

Tensor uploadInt(Device& device, const Shape& shape, const int32_t* values) {
  return upload(device, shape, DType::I32, Format::Plain, values);
}

Tensor uploadBytes(Device& device, const Shape& shape, const uint8_t* values) {
  return upload(device, shape, DType::U8, Format::Plain, values);
}

void write(const Tensor& t, const void* values, size_t bytes, std::shared_ptr<void> hold) {
  checkAlive(t, {"write", "tensor"});
  checkBytes(t, bytes, {"write", "values"});
  Device& device = t.device();
  require(!device.recording(), ErrorCode::InvalidState,
          "write: host memory can't be read by a recorded step; write before the recording, copy within it");
  device.checkHealth();
  if (!hold) {
    hold = device.hostMemory(bytes);
    std::memcpy(hold.get(), values, bytes);
    values = hold.get();
  }
  if (rowMajor(t)) {
    device.launchHostCopy({values, t.data<void>(), bytes}, true, std::move(hold));
  } else {
    // Only an upload's source: it isn't written.
    auto* const plain = static_cast<float*>(const_cast<void*>(values));
    device.launch(transfer(t, plain, true, true), std::move(hold));
  }
  written(t);
}

void written(const Tensor& t) {
  if (!t.storage->rounded) return;
  Device& device = t.device();
  const int64_t count = device.physicalCount(t.shape, t.format);
  device.launch(op::RoundFilter{t.data(), {roundedValues(t), count, device.activationType()}});
}

void read(const Tensor& t, void* values, size_t bytes, std::shared_ptr<void> keep) {
  checkAlive(t, {"read", "tensor"});
  checkBytes(t, bytes, {"read", "values"});
  Device& device = t.device();
  require(!device.recording(), ErrorCode::InvalidState, "read: a recorded step can't write to host memory");
  device.checkHealth();
  if (rowMajor(t)) {
    device.launchHostCopy({t.data<void>(), values, bytes}, false, std::move(keep));
  } else {
    device.launch(transfer(t, static_cast<float*>(values), false, true), std::move(keep));
  }
}

Tensor full(Device& device, const Shape& shape, DType dtype, Format format, double value) {
  checkFormat(shape, format);
  checkValue(dtype, value);
  Tensor t = device.empty(shape, dtype, format);
  fill(t, value);
  return t;
}

void fill(const Tensor& t, double value) {
  checkAlive(t, {"fill", "tensor"});
  checkDevice(t.device(), t, {"fill", "tensor"});
  checkValue(t.dtype, value);
  const size_t size = dtypeSize(t.stored);
  const int64_t count = t.dtype == DType::F32 ? t.device().physicalCount(t.shape, t.format) : t.count();
  t.device().launch(op::Fill{t.data<void>(), count, bitsOf(t.stored, value), size});
  written(t);
}

void copy(const Tensor& from, const Tensor& to) {
  checkAlive(from, {"copy", "from"});
  checkAlive(to, {"copy", "to"});
  checkDevice(from.device(), from, {"copy", "from"});
  checkDevice(from.device(), to, {"copy", "to"});
  require(from.dtype == to.dtype, ErrorCode::DTypeMismatch, "copy: to must be ", dtypeName(from.dtype), ", got ",
          dtypeName(to.dtype));
  checkShape(to, from.shape, {"copy", "to"});
  require(from.format == to.format, ErrorCode::InvalidArgument, "copy: to must have the ", formatName(from.format),
          " format, got ", formatName(to.format));
  const auto size = static_cast<int64_t>(dtypeSize(from.stored));
  const int64_t count = from.dtype == DType::F32 ? from.device().physicalCount(from.shape, from.format) : from.count();
  from.device().launch(op::Copy{from.data<void>(), to.data<void>(), static_cast<size_t>(count * size)});
  written(to);
}

Tensor reshape(const Tensor& t, const Shape& shape, Format format) {
  checkAlive(t, {"reshape", "tensor"});
  const bool plainTarget = format == Format::Plain || shape.rank() <= 2;
  // What moves values between layouts knows float32 only.
  if (t.dtype != DType::I32 || !rowMajor(t) || !plainTarget) checkFloat(t, {"reshape", "tensor"});
  checkDevice(t.device(), t, {"reshape", "tensor"});
  checkFormat(shape, format);
  require(shape.count() == t.count(), ErrorCode::ShapeMismatch, "reshape: ", t.shape.str(), " has ", t.count(),
          " values, ", shape.str(), " has ", shape.count());
  Device& device = t.device();
  Tensor result = device.empty(shape, t.dtype, format);
  const Tensor* plain = &t;
  Tensor staging;
  if (!rowMajor(t)) {
    staging = plainTarget ? result : device.empty(shape, DType::F32, Format::Plain);
    device.launch(transfer(t, staging.data(), false, false), nullptr);
    plain = &staging;
  }
  if (!plainTarget) {
    device.launch(transfer(result, plain->data(), true, false), nullptr);
  } else if (plain == &t) {
    device.launch(op::Copy{t.data(), result.data(), static_cast<size_t>(t.count()) * 4});
  }
  return result;
}

Tensor grow(const Tensor& t, int64_t virtualSamples) {
  checkAlive(t, {"grow", "tensor"});
  require(t.format == Format::Activation && virtualSamples >= 0, ErrorCode::InvalidArgument,
          "grow: expected an activation and a number of samples, got format ", formatName(t.format), " and ",
          virtualSamples);
  require(virtualSamples <= t.virtualSamples, ErrorCode::InvalidState, "grow: the memory of ", t.shape.str(),
          " has no room for ", virtualSamples, " more samples");
  Tensor grown = t;
  grown.shape[0] += virtualSamples;
  grown.virtualSamples -= virtualSamples;
  return grown;
}

}  // namespace kn
