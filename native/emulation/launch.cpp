#include "launch.h"

#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

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
  if (!allowed(*launch)) return failed(cudaErrorInvalidConfiguration);
  return enqueue(stream, cudaGraphNodeTypeKernel, [launch = std::move(launch)] {
    if (!countLaunch()) return;
    recordLaunch(*launch, [&] { runLaunch(*launch); });
    checkGuards(*launch);
  });
}

}  // namespace kn::emulation
