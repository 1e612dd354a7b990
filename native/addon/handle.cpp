#include "handle.h"

namespace kn::addon {
namespace {

const Shape& shape(const Tensor& tensor) { return tensor.shape; }
DType dtype(const Tensor& tensor) { return tensor.dtype; }
Format format(const Tensor& tensor) { return tensor.format; }
double virtualSamples(const Tensor& tensor) { return static_cast<double>(tensor.virtualSamples); }

Napi::Value shared(Environment& environment, Handle& handle) {
  return Napi::Boolean::New(environment.env, handle.tensor.storage.use_count() > 1);
}

void dispose(Handle& handle) { handle.release(); }

Tensor share(const Tensor& tensor) { return tensor; }

Tensor samples(const Tensor& tensor, int64_t from, int64_t count) { return tensor.samples(from, count); }

}  // namespace

const Bindings& Handle::bindings() {
  static const Bindings table{
      getter<&shape>("shape", "tensor"),   getter<&dtype>("dtype", "tensor"),
      getter<&format>("format", "tensor"), getter<&virtualSamples>("virtualSamples", "tensor"),
      getter<&shared>("shared", "tensor"), method<&dispose>("dispose", "tensor"),
      method<&share>("share", "tensor"),   method<&samples>("samples", "tensor", "from", "count"),
  };
  return table;
}

Napi::Value Handle::make(Environment& environment, const std::shared_ptr<Device>& device, const Tensor& tensor) {
  Handle& handle = create(environment.handleClass);
  handle.device = device;
  handle.tensor = tensor;
  const Napi::Value value = handle.Value();  // reachable from here on: counting it may collect
  handle.garbage_ = environment.garbage;
  handle.garbage_->add(handle);
  return value;
}

void Handle::release() {
  if (!garbage_) return;
  garbage_->remove(*this);
  garbage_.reset();
  tensor = {};
  device.reset();
}

}  // namespace kn::addon
