#include "device_wrap.h"

#include <utility>

#include "program_wrap.h"

namespace kn::addon {
namespace {

std::string name(const Device& device) { return device.name(); }
std::string description(const Device& device) { return device.description(); }

MemoryStats memoryStats(const Device& device) { return device.memoryStats(); }
void resetPeakMemory(Device& device) { device.resetPeakMemory(); }
void trimMemory(Device& device) { device.trimMemory(); }

Napi::Value synchronize(Environment& environment, const std::shared_ptr<Device>& device) {
  return environment.promise(device, {});
}

double queueDepth(Device& device) { return static_cast<double>(device.queueDepth()); }

void cancel(Environment& environment, Device& device) {
  require(!device.recording(), ErrorCode::InvalidState, "cancel: a recording is under way on this device");
  device.cancel();
  environment.completions->cancel(device);
}

void joinExchanges(Device& device) { device.joinExchanges(); }

void beginRecording(Device& device) { device.beginRecording(); }
Napi::Value endRecording(Environment& environment, const std::shared_ptr<Device>& device) {
  return ProgramWrap::make(environment, device, device->endRecording());
}
void abandonRecording(Device& device) { device.abandonRecording(); }

void replay(Device& device, ProgramWrap& program, int64_t count) {
  require(program.program != nullptr, ErrorCode::Disposed, "replay: program is disposed");
  device.checkHealth();
  device.replay(*program.program, count);
}

void setProfiling(Device& device, bool on) { device.setProfiling(on); }
std::map<std::string, ProfileEntry> profile(const Device& device) { return device.profile(); }

/// Work that nobody waits for is dropped. The promise is of its end, whatever that is; tensors and programs that are
/// still alive keep the device itself.
Napi::Value dispose(Environment& environment, DeviceWrap& wrap) {
  const auto deferred = Napi::Promise::Deferred::New(environment.env);
  const auto done = [deferred](Napi::Env env, const Error*) { deferred.Resolve(env.Undefined()); };
  const auto device = std::exchange(wrap.device, nullptr);
  if (!device) {
    done(environment.env, nullptr);
    return deferred.Promise();
  }
  if (device->recording()) device->abandonRecording();
  if (!environment.completions->awaits(*device)) device->abandon();
  environment.completions->after(device, done);
  return deferred.Promise();
}

}  // namespace

const Bindings& DeviceWrap::bindings() {
  static const Bindings table{
      getter<&name>("name", "device"),
      getter<&description>("description", "device"),
      method<&memoryStats>("memoryStats", "device"),
      method<&resetPeakMemory>("resetPeakMemory", "device"),
      method<&trimMemory>("trimMemory", "device"),
      method<&synchronize>("synchronize", "device"),
      getter<&queueDepth>("queueDepth", "device"),
      method<&cancel>("cancel", "device"),
      method<&joinExchanges>("joinExchanges", "device"),
      method<&beginRecording>("beginRecording", "device"),
      method<&endRecording>("endRecording", "device"),
      method<&abandonRecording>("abandonRecording", "device"),
      method<&replay>("replay", "device", "program", "count"),
      method<&setProfiling>("setProfiling", "device", "on"),
      method<&profile>("profile", "device"),
      method<&dispose>("dispose", "device"),
  };
  return table;
}

Napi::Value DeviceWrap::make(Environment& environment, std::shared_ptr<Device> device) {
  environment.adopt(device);
  DeviceWrap& wrap = create(environment.deviceClass);
  wrap.device = std::move(device);
  return wrap.Value();
}

std::shared_ptr<Device> Read<std::shared_ptr<Device>>::from(Call& call) {
  const Argument argument = call.next();
  const DeviceWrap* wrap = DeviceWrap::unwrap(argument.value);
  if (!wrap) argument.fail(DeviceWrap::expected);
  if (!wrap->device) argument.disposed();
  call.keep(wrap->device);
  return wrap->device;
}

}  // namespace kn::addon
