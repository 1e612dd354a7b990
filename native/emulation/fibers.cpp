#include "fibers.h"

#include <sys/mman.h>

#include <new>

#include "sanitizers.h"

#if !defined(__x86_64__)
#error "The emulation switches stacks in x86-64 machine code."
#endif

namespace kn::emulation {
namespace {

constexpr size_t kPage = 4096;
// Frames are several times larger under the sanitizers. Pages that are never touched cost nothing.
constexpr size_t kStack = kAddressSanitizer || kThreadSanitizer ? 512 << 10 : 128 << 10;

KN_ASAN(thread_local Fiber* previous = nullptr;)

/// (from, to): saves the registers that a function must preserve, and the stack pointer in *from; then the reverse.
__attribute__((naked, noinline, no_sanitize("address", "thread", "undefined"))) void swapStacks(void**, void*) {
  asm("pushq %rbp\n"
      "pushq %rbx\n"
      "pushq %r12\n"
      "pushq %r13\n"
      "pushq %r14\n"
      "pushq %r15\n"
      "movq %rsp, (%rdi)\n"
      "movq %rsi, %rsp\n"
      "popq %r15\n"
      "popq %r14\n"
      "popq %r13\n"
      "popq %r12\n"
      "popq %rbx\n"
      "popq %rbp\n"
      "ret\n");
}

}  // namespace

Fiber::Fiber() { KN_TSAN(watched_ = __tsan_get_current_fiber();) }

Fiber::Fiber(void (*entry)()) {
  memory_ = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory_, kPage, PROT_NONE);
  bottom_ = static_cast<char*>(memory_) + kPage;
  size_ = kStack;
  // Six zeros for the registers, then the address to return to; a function finds its stack 8 bytes off 16.
  auto** top = reinterpret_cast<void**>(static_cast<char*>(memory_) + kPage + kStack);
  top[-8] = reinterpret_cast<void*>(entry);
  position_ = top - 14;
  KN_TSAN(watched_ = __tsan_create_fiber(0);)
}

Fiber::~Fiber() {
  if (!memory_) return;
  KN_TSAN(__tsan_destroy_fiber(watched_);)
  allow(bottom_, size_);
  munmap(memory_, kPage + kStack);
}

KN_UNWATCHED void Fiber::switchTo(Fiber& from, Fiber& to) {
  KN_ASAN(previous = &from; __sanitizer_start_switch_fiber(&from.fakeStack_, to.bottom_, to.size_);)
  // Without an edge between the two: ThreadSanitizer shall see them as threads of their own.
  KN_TSAN(__tsan_switch_to_fiber(to.watched_, __tsan_switch_to_fiber_no_sync);)
  swapStacks(&from.position_, to.position_);
  arrived(from);
}

KN_UNWATCHED void Fiber::arrived([[maybe_unused]] Fiber& self) {
  // This is also how the stack of an OS thread becomes known.
  KN_ASAN(__sanitizer_finish_switch_fiber(self.fakeStack_, &previous->bottom_, &previous->size_);)
}

}  // namespace kn::emulation
