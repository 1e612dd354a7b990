#pragma once
#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "../core/runtime/device.h"
#include "../distributed/nccl/communicator.h"
#include "completions.h"
#include "garbage.h"
#include "host_buffers.h"

namespace kn::addon {

/// What the addon knows of one JavaScript environment: the main thread or a worker. Nothing is shared between them.
class Environment {
 public:
  /// Defines the classes and makes this the environment's instance data.
  static void create(Napi::Env env);
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  /// Of the class that JavaScript has set, else a plain Error with a code.
  Napi::Error error(ErrorCode code, const std::string& message) const;
  void setErrorClass(Napi::Function errorClass) { errorClass_ = Napi::Persistent(errorClass); }

  /// A promise of `value` (may be empty) for when the device has run what was enqueued so far.
  Napi::Value promise(const std::shared_ptr<Device>& device, Napi::Object value);

  void adopt(const std::shared_ptr<Device>& device);
  void adopt(const std::shared_ptr<nccl::Communicator>& communicator);
  /// For the end of the environment: nobody asks for results any more. Waits until no device has work, of which what
  /// has not started is dropped, and what waits for other processes given up.
  void leave();

  const Napi::Env env;
  const Napi::FunctionReference handleClass, deviceClass, programClass, communicatorClass;
  const std::shared_ptr<Completions> completions;
  const std::shared_ptr<Garbage> garbage;
  HostBuffers hostBuffers;

 private:
  explicit Environment(Napi::Env env);

  Napi::FunctionReference errorClass_;
  std::vector<std::weak_ptr<Device>> devices_;
  std::vector<std::weak_ptr<nccl::Communicator>> communicators_;
};

}  // namespace kn::addon
