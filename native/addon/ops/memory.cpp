#include "../../core/ops/memory.h"

#include <cstring>

#include "../binding.h"
#include "../device_wrap.h"
#include "../handle.h"

namespace kn::addon {
namespace {

Tensor upload(Device& device, const Shape& shape, Format format, const Values& values) {
  require(values.count == shape.count(), ErrorCode::ShapeMismatch, "upload: values must hold ", shape.count(),
          " values for shape ", shape.str(), ", got ", values.count);
  require(values.dtype == DType::F32 || format == Format::Plain, ErrorCode::InvalidArgument,
          "upload: format must be plain for ", dtypeName(values.dtype), " values, got ", formatName(format));
  switch (values.dtype) {
    case DType::I32: return uploadInt(device, shape, static_cast<const int32_t*>(values.data));
    case DType::U8: return uploadBytes(device, shape, static_cast<const uint8_t*>(values.data));
    default: return uploadFloat(device, shape, format, static_cast<const float*>(values.data));
  }
}

/// Whoever calls has checked that a Uint8Array may have so many bytes: more than integers of 32 bits count.
Napi::Value hostBuffer(Environment& environment, Device& device, double bytes) {
  require(bytes >= 1 && bytes < 0x1p53, ErrorCode::InvalidArgument, "hostBuffer: bytes must be a size, got ", bytes);
  const auto size = static_cast<size_t>(bytes);
  const std::shared_ptr<void> memory = device.hostMemory(size);
  std::memset(memory.get(), 0, size);
  return environment.hostBuffers.wrap(environment.env, memory, size);
}

void write(Environment& environment, const Tensor& tensor, const Values& values) {
  require(values.dtype == tensor.dtype, ErrorCode::DTypeMismatch, "write: values must be ", dtypeName(tensor.dtype),
          ", got ", dtypeName(values.dtype));
  const size_t bytes = static_cast<size_t>(values.count) * dtypeSize(values.dtype);
  kn::write(tensor, values.data, bytes, environment.hostBuffers.find(values.data, bytes));
}

Napi::Object typedArray(Napi::Env env, DType dtype, size_t count, Napi::ArrayBuffer buffer) {
  switch (dtype) {
    case DType::I32: return Napi::Int32Array::New(env, count, buffer, 0);
    case DType::U8: return Napi::Uint8Array::New(env, count, buffer, 0);
    default: return Napi::Float32Array::New(env, count, buffer, 0);
  }
}

/// The device writes straight into the memory of the result, which the promise keeps alive.
Napi::Value download(Environment& environment, const Handle& handle) {
  const Tensor tensor = handle.tensor;
  const std::shared_ptr<Device> device = handle.device;
  require(static_cast<bool>(tensor), ErrorCode::Disposed, "download: tensor is disposed");
  const auto count = static_cast<size_t>(tensor.count());
  auto buffer = Napi::ArrayBuffer::New(environment.env, count * dtypeSize(tensor.dtype));
  const Napi::Object values = typedArray(environment.env, tensor.dtype, count, buffer);
  read(tensor, buffer.Data(), buffer.ByteLength(), nullptr);
  return environment.promise(device, values);
}

Tensor empty(Device& device, const Shape& shape, DType dtype, Format format, int64_t virtualSamples) {
  require(virtualSamples >= 0, ErrorCode::InvalidArgument, "empty: virtualSamples must not be negative, got ",
          virtualSamples);
  require(virtualSamples == 0 || shape.rank() > 0, ErrorCode::ShapeMismatch,
          "empty: a scalar has no room for virtualSamples");
  return device.empty(shape, dtype, format, virtualSamples);
}

const Functions functions{
    bind<&upload>("upload", "device", "shape", "format", "values"),
    bind<&hostBuffer>("hostBuffer", "device", "bytes"),
    bind<&write>("write", "tensor", "values"),
    bind<&download>("download", "tensor"),
    bind<&full>("full", "device", "shape", "dtype", "format", "value"),
    bind<&empty>("empty", "device", "shape", "dtype", "format", "virtualSamples"),
    bind<&grow>("grow", "tensor", "virtualSamples"),
    bind<&fill>("fill", "tensor", "value"),
    bind<&copy>("copy", "from", "to"),
    bind<&reshape>("reshape", "tensor", "shape", "format"),
};

}  // namespace
}  // namespace kn::addon
