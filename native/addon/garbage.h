#pragma once
#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "../core/runtime/device.h"

namespace kn::addon {

class Handle;

/// Memory behind tensors that JavaScript has forgotten. The collector sees small objects only, and Node calls their
/// finalizers from the event loop, never within a synchronous loop. So this tells V8 how much memory they hold, asks it
/// to collect when that has doubled since the last time, and frees what it finds unreachable at once.
///
/// A training step makes and frees the same memory again and again. Told of each change, V8 would answer every step
/// with a collection; it is told of new peaks, and of less only after a collection.
class Garbage {
 public:
  explicit Garbage(Napi::Env env) : env_(env) {}
  Garbage(const Garbage&) = delete;

  void adopt(const std::shared_ptr<Device>& device);
  /// A handle that holds memory from now on.
  void add(Handle& handle);
  void remove(Handle& handle);
  /// Has V8 collect, and frees the memory of the handles that nothing reaches. Whether there were any.
  bool collect();

 private:
  void press();
  /// Whether handles were found whose objects are gone, which their finalizers have yet to learn.
  bool sweep();
  void look();
  void tell(size_t bytes);
  size_t held() const;

  static constexpr size_t kStep = size_t{16} << 20;
  static constexpr size_t kQuiet = size_t{256} << 20;  ///< bytes that are never worth a collection

  const Napi::Env env_;
  std::vector<std::weak_ptr<Device>> devices_;
  std::vector<Handle*> handles_;
  size_t unseen_ = 0;          ///< bytes of handles added since the last look
  size_t told_ = 0;            ///< bytes that V8 knows of
  size_t threshold_ = kQuiet;  ///< bytes held that ask for the next collection
};

}  // namespace kn::addon
