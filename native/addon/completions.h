#pragma once
#include <napi.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../core/runtime/device.h"

namespace kn::addon {

/// Calls back on the JavaScript thread once a device has run what was enqueued so far. While callbacks are waited for,
/// the event loop stays alive; else it may end.
class Completions {
 public:
  /// `failure` is null where all went well.
  using Callback = std::function<void(Napi::Env env, const Error* failure)>;

  explicit Completions(Napi::Env env);
  Completions(const Completions&) = delete;

  /// Holds `callback` and the device until then. After `close` it waits for the device and drops the callback.
  void after(const std::shared_ptr<Device>& device, Callback callback);
  /// Calls back at once, with a failure, whoever waits for this device. What the callbacks hold stays until the device
  /// has come to rest, as it may be writing there.
  void cancel(const Device& device);
  /// Whether a callback waits for this device.
  bool awaits(const Device& device) const;
  /// Waits for the devices, so that nothing writes to memory of JavaScript any more, and drops all callbacks.
  void close();

 private:
  static void wake(Napi::Env env, Napi::Function, Completions* self, void*);
  using Bell = Napi::TypedThreadSafeFunction<Completions, void, &Completions::wake>;

  /// What the device threads know of an environment; it outlives the environment.
  struct Inbox {
    std::mutex mutex;
    bool open = true;
    std::vector<std::pair<uint64_t, Failure>> done;
    Bell bell;
  };
  struct Waiting {
    std::shared_ptr<Device> device;
    Callback callback;
    bool called = false;
  };

  void deliver(Napi::Env env);

  const Napi::Env env_;
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::map<uint64_t, Waiting> waiting_;
  uint64_t next_ = 0;
  bool closed_ = false;
};

}  // namespace kn::addon
