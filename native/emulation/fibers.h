#pragma once
#include <cstddef>

namespace kn::emulation {

/// A stack on which code can be suspended. Fibers never move to another OS thread.
class Fiber {
 public:
  /// The stack of the calling OS thread itself.
  Fiber();
  /// A stack of its own; `entry` must never return.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;

  /// Suspends the running code on `from` and goes on with what is suspended on `to`.
  static void switchTo(Fiber& from, Fiber& to);
  /// What the entry of a fiber has to call first.
  static void arrived(Fiber& self);

 private:
  void* position_ = nullptr;  ///< stack pointer while suspended
  void* memory_ = nullptr;
  const void* bottom_ = nullptr;  ///< for AddressSanitizer, as the following two
  size_t size_ = 0;
  void* fakeStack_ = nullptr;
  void* watched_ = nullptr;  ///< ThreadSanitizer's fiber
};

}  // namespace kn::emulation
