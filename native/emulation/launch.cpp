#include "launch.h"

#include <cxxabi.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>
#include <utility>

#include "device_memory.h"
#include "block.h"
#include "record.h"
#include "runtime.h"
#include "symbols.h"
#include "workers.h"

namespace kn::emulation {
namespace {

/// The arithmetic progression through the blocks that stands for "shuffled": its step has no divisor in common with
/// their number.
uint64_t shuffledStep(uint64_t blocks) {
  uint64_t step = blocks * 5 / 8 + 1;
  while (std::gcd(step, blocks) != 1) ++step;
  return step;
}

const Order& order() {
  static const Order order{static_cast<Order::Kind>(setting("KN_EMULATION_ORDER", 0) % 3),
                           static_cast<unsigned>(setting("KN_EMULATION_SEED", 1))};
  return order;
}

bool allowed(const Launch& launch) {
  const dim3 g = launch.grid, b = launch.block;
  const bool gridFits = g.x > 0 && g.x < 1u << 31 && g.y > 0 && g.y < 1u << 16 && g.z > 0 && g.z < 1u << 16;
  const bool blockFits = b.x > 0 && b.x <= 1024 && b.y > 0 && b.y <= 1024 && b.z > 0 && b.z <= 64;
  return gridFits && blockFits && b.x * b.y * b.z <= 1024 && launch.shared <= 48 << 10;
}

/// Where two small numbers side by side would point to, V8 maps its heaps, at random, and sanitizers their shadows; the
/// program, its libraries and the C++ heap lie above.
constexpr uint64_t kLowest = uint64_t{1} << 46;

/// Whether the host has memory at an address.
bool isHostMemory(uint64_t address) {
  constexpr uint64_t page = 4096;
  if (address < kLowest) return false;
  unsigned char resident;
  return address >> 47 == 0 && mincore(reinterpret_cast<void*>(address / page * page), 1, &resident) == 0;
}

/// What is wrong with a word of the arguments, or null. Sizes are far below the addresses of a process.
const char* wrongPointer(uint64_t word, int device) {
  if (word < uint64_t{1} << 32) return nullptr;
  DeviceMemory& memory = DeviceMemory::instance();
  const auto* pointer = reinterpret_cast<const void*>(word);
  if (!memory.owns(pointer)) return isHostMemory(word) ? "the host's memory" : nullptr;
  const int owner = memory.deviceOf(pointer);
  if (owner < 0) return "memory that has been freed";
  return owner == device ? nullptr : "another device's memory";
}

/// A GPU would stop at the first access; here it works, so the arguments are looked through for pointers that a kernel
/// can't use.
bool pointersFit(const Launch& launch) {
  const auto arguments = launch.arguments();
  const auto meaning = launch.meaning();
  for (size_t i = 0; i < arguments.size(); ++i) {
    for (size_t at = 0; at + sizeof(uint64_t) <= arguments[i].size(); at += sizeof(uint64_t)) {
      uint64_t word = 0, mask = 0;
      std::memcpy(&word, arguments[i].data() + at, sizeof word);
      std::memcpy(&mask, meaning[i].data() + at, sizeof mask);
      const char* wrong = mask == ~uint64_t{0} ? wrongPointer(word, currentDevice()) : nullptr;
      if (!wrong) continue;
      std::fprintf(stderr, "emulation: %s gets a pointer to %s\n", launch.name().c_str(), wrong);
      return false;
    }
  }
  return true;
}

/// Whether the device has the kernel's code, which it gets at the first use; from then on it does.
bool isLoaded(const void* kernel, bool load) {
  static std::mutex mutex;
  static auto& loaded = *new std::set<std::pair<int, const void*>>;
  std::lock_guard lock(mutex);
  if (load) loaded.insert({currentDevice(), kernel});
  return loaded.contains({currentDevice(), kernel});
}

void checkGuards(const Launch& launch) {
  const DeviceMemory::Block block = DeviceMemory::instance().damaged();
  if (block.bytes == 0) return;
  std::fprintf(stderr, "emulation: %s has written behind the end of %zu bytes of device memory at %p\n",
               launch.name().c_str(), block.bytes, static_cast<void*>(DeviceMemory::instance().base() + block.offset));
  std::fflush(stderr);
  std::abort();
}

}  // namespace

std::string Launch::symbol() const { return symbolAt(kernel); }

std::string Launch::name() const {
  const std::string mangled = symbol();
  int status = 0;
  char* text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string result = text ? text : mangled.empty() ? "a kernel without a name" : mangled;
  std::free(text);
  const std::string hidden = "(anonymous namespace)::";
  if (const size_t at = result.find(hidden); at != std::string::npos) result.erase(at, hidden.size());
  return result.substr(0, result.find('('));
}

void runLaunch(const Launch& launch) {
  const uint64_t x = launch.grid.x, y = launch.grid.y, blocks = x * y * launch.grid.z;
  const uint64_t step = order().kind == Order::Shuffled ? shuffledStep(blocks) : 1;
  parallelFor(static_cast<int64_t>(blocks), [&](int64_t i) {
    uint64_t block = static_cast<uint64_t>(i) * step % blocks;
    if (order().kind == Order::Descending) block = blocks - 1 - block;
    BlockRunner::local(order()).run(launch, {static_cast<unsigned>(block % x), static_cast<unsigned>(block / x % y),
                                             static_cast<unsigned>(block / (x * y))});
  });
}

cudaError_t enqueueLaunch(std::shared_ptr<Launch> launch, cudaStream_t stream) {
  if (const cudaError_t error = entered("kernel launch")) return error;
  if (!allowed(*launch)) return failed(cudaErrorInvalidConfiguration);
  if (!pointersFit(*launch)) return failed(cudaErrorInvalidValue);
  if (!isLoaded(launch->kernel, false)) {
    if (const cudaError_t error = unsafeCall()) return error;
    isLoaded(launch->kernel, true);
  }
  const auto work = [launch, device = currentDevice()] {
    if (!countLaunch(device)) return;
    recordLaunch(*launch, [&] { runLaunch(*launch); });
    checkGuards(*launch);
  };
  return enqueue(stream, cudaGraphNodeTypeKernel, work, [launch] { return launch->name(); });
}

}  // namespace kn::emulation
