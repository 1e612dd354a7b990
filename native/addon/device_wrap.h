#pragma once
#include <memory>

#include "environment.h"
#include "wrap.h"

namespace kn::addon {

class DeviceWrap : public Wrap<DeviceWrap> {
 public:
  static constexpr napi_type_tag tag = {0x41b7e6d29c8f4a05, 0xb3d80f6a57e1c924};
  static constexpr const char* className = "Device";
  static constexpr const char* expected = "a device";
  static const Bindings& bindings();

  using Wrap::Wrap;
  static Napi::Value make(Environment& environment, std::shared_ptr<Device> device);

  std::shared_ptr<Device> device;  ///< null once disposed
};

template <>
struct Read<DeviceWrap> : ReadWrap<DeviceWrap> {};

/// A device that isn't disposed.
template <>
struct Read<std::shared_ptr<Device>> {
  static constexpr size_t parameters = 1;
  static std::shared_ptr<Device> from(Call& call);
};
template <>
struct Read<Device> {
  static constexpr size_t parameters = 1;
  static Device& from(Call& call) { return *Read<std::shared_ptr<Device>>::from(call); }
};

}  // namespace kn::addon
