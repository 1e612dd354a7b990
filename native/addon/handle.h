#pragma once
#include <memory>

#include "environment.h"
#include "garbage.h"
#include "wrap.h"

namespace kn::addon {

/// JavaScript's reference to a tensor. The garbage collector is only the safety net of `dispose`; see Garbage.
class Handle : public Wrap<Handle> {
 public:
  static constexpr napi_type_tag tag = {0x9d1f0c3e5a7b4862, 0x8e64b2a1c05d7f39};
  static constexpr const char* className = "Tensor";
  static constexpr const char* expected = "a tensor";
  static const Bindings& bindings();

  using Wrap::Wrap;
  ~Handle() override { release(); }
  static Napi::Value make(Environment& environment, const std::shared_ptr<Device>& device, const Tensor& tensor);

  /// Gives the memory up. A second call does nothing.
  void release();

  // In this order: the memory goes before its device.
  std::shared_ptr<Device> device;
  Tensor tensor;
  size_t place = 0;  ///< among the handles with memory, which Garbage counts

 private:
  std::shared_ptr<Garbage> garbage_;  ///< null where it holds no memory
};

template <>
struct Read<Handle> : ReadWrap<Handle> {};

}  // namespace kn::addon
