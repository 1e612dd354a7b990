#include "environment.h"

#include <utility>

#include "communicator_wrap.h"
#include "device_wrap.h"
#include "handle.h"
#include "program_wrap.h"

namespace kn::addon {

Environment::Environment(Napi::Env env)
    : env(env),
      handleClass(Napi::Persistent(Handle::define(env))),
      deviceClass(Napi::Persistent(DeviceWrap::define(env))),
      programClass(Napi::Persistent(ProgramWrap::define(env))),
      communicatorClass(Napi::Persistent(CommunicatorWrap::define(env))),
      completions(std::make_shared<Completions>(env)),
      garbage(std::make_shared<Garbage>(env)) {}

void Environment::create(Napi::Env env) {
  auto* environment = new Environment(env);
  env.SetInstanceData(environment);
  // Runs before the environment takes its objects down, and before Node closes the completions' bell, which was made
  // earlier. From here on no device thread touches memory of JavaScript.
  env.AddCleanupHook(
      [](Environment* self) {
        self->leave();
        self->completions->close();
      },
      environment);
}

Napi::Error Environment::error(ErrorCode code, const std::string& message) const {
  const Napi::HandleScope scope(env);
  try {
    const auto name = Napi::String::New(env, codeName(code));
    if (!errorClass_.IsEmpty()) return {env, errorClass_.New({name, Napi::String::New(env, message)})};
    Napi::Error plain = Napi::Error::New(env, message);
    plain.Set("code", name);
    return plain;
  } catch (const Napi::Error& thrown) {
    return thrown;
  }
}

Napi::Value Environment::promise(const std::shared_ptr<Device>& device, Napi::Object value) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  // std::function wants what can be copied.
  auto kept = std::make_shared<Napi::ObjectReference>();
  if (!value.IsEmpty()) *kept = Napi::Persistent(value);
  completions->after(device, [this, deferred, kept](Napi::Env env, const Error* failure) {
    if (failure) {
      deferred.Reject(error(failure->code, failure->what()).Value());
    } else {
      deferred.Resolve(kept->IsEmpty() ? env.Undefined() : kept->Value());
    }
  });
  return deferred.Promise();
}

void Environment::adopt(const std::shared_ptr<Device>& device) {
  std::erase_if(devices_, [](const auto& known) { return known.expired(); });
  devices_.push_back(device);
  garbage->adopt(device);
  device->onShortage([garbage = std::weak_ptr(garbage)] {
    const auto alive = garbage.lock();
    return alive && alive->collect();
  });
}

void Environment::adopt(const std::shared_ptr<nccl::Communicator>& communicator) {
  std::erase_if(communicators_, [](const auto& known) { return known.expired(); });
  communicators_.push_back(communicator);
}

void Environment::leave() {
  for (const auto& known : communicators_) {
    if (const auto communicator = known.lock()) communicator->abortNow();
  }
  for (const auto& known : devices_) {
    const auto device = known.lock();
    if (!device) continue;
    device->abandon();
    device->synchronize();
  }
}

}  // namespace kn::addon
