#include "block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "launch.h"
#include "sanitizers.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim;
constinit thread_local dim3 gridDim;

namespace kn::emulation {
namespace {

thread_local BlockRunner* ofThisThread = nullptr;

constexpr size_t kSharedLimit = 48 << 10;  // what a block may declare on any GPU
constexpr size_t kSharedAlign = 64;        // also the gap between variables
constexpr size_t kSharedBytes = kSharedLimit + 64 * kSharedAlign;

KN_UNWATCHED bool same(Place a, Place b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

/// memset is watched by ThreadSanitizer even where its caller is not.
KN_UNWATCHED void poison(void* memory, size_t bytes) {
  auto* words = static_cast<volatile uint64_t*>(memory);
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = ~uint64_t{0};
}

uint32_t random(uint32_t& state) { return (state = state * 1664525u + 1013904223u) >> 8; }

void shuffle(int* items, int count, uint32_t seed) {
  for (int i = count - 1; i > 0; --i) std::swap(items[i], items[random(seed) % (i + 1)]);
}

void arrange(int* items, int count, Order order) {
  std::iota(items, items + count, 0);
  if (order.kind == Order::Descending)
    std::iota(std::make_reverse_iterator(items + count), std::make_reverse_iterator(items), 0);
  if (order.kind == Order::Shuffled) shuffle(items, count, order.seed);
}

}  // namespace

BlockRunner::BlockRunner(Order order) : order_(order) {
  arrange(laneOrder_, 32, order);
  for (int turn = 0; turn < 32; ++turn) turnOfLane_[laneOrder_[turn]] = turn;
  sharedMemory_ = static_cast<char*>(std::aligned_alloc(kSharedAlign, kSharedBytes));
}

BlockRunner::~BlockRunner() {
  allow(sharedMemory_, kSharedBytes);
  std::free(sharedMemory_);
}

BlockRunner& BlockRunner::local(Order order) {
  static thread_local std::unique_ptr<BlockRunner> runner;
  if (!runner) runner = std::make_unique<BlockRunner>(order);
  return *(ofThisThread = runner.get());
}

KN_UNWATCHED BlockRunner& BlockRunner::current() { return *ofThisThread; }

void BlockRunner::prepare(dim3 block) {
  if (block.x == shape_.x && block.y == shape_.y && block.z == shape_.z) return;
  shape_ = block;
  count_ = static_cast<int>(block.x * block.y * block.z);
  warpCount_ = (count_ + 31) / 32;
  threadMemory_ = std::make_unique<Thread[]>(count_);
  warpMemory_ = std::make_unique<Warp[]>(warpCount_);
  warpOrderMemory_ = std::make_unique<int[]>(warpCount_);
  threads_ = threadMemory_.get();
  warps_ = warpMemory_.get();
  warpOrder_ = warpOrderMemory_.get();
  arrange(warpOrder_, warpCount_, order_);
  for (int i = 0; i < count_; ++i) {
    const unsigned n = static_cast<unsigned>(i);
    threads_[i].index = {n % block.x, n / block.x % block.y, n / (block.x * block.y)};
  }
  for (int i = 0; i < warpCount_; ++i) warps_[i].lanes = count_ - i * 32 < 32 ? count_ - i * 32 : 32;
  // ThreadSanitizer needs a fiber for each thread, lest it take two threads for one.
  while (kThreadSanitizer && static_cast<int>(fibers_.size()) < count_) {
    fibers_.push_back(std::make_unique<Fiber>(fiberMain));
    fiberOfThread_[fibers_.size() - 1] = fibers_.back().get();
  }
}

KN_UNWATCHED void BlockRunner::run(const Launch& launch, uint3 block) {
  prepare(launch.block);
  launch_ = &launch;
  blockIdx = block;
  blockDim = launch.block;
  gridDim = launch.grid;
  alive_ = count_;
  arrived_ = 0;
  odd_ = false;
  cursor_ = 0;
  for (int i = 0; i < count_; ++i) threads_[i].fiber = nullptr;
  for (int i = 0; i < warpCount_; ++i) {
    Warp& warp = warps_[i];
    warp.ready = 0;
    for (int lane = 0; lane < warp.lanes; ++lane) warp.ready |= 1u << turnOfLane_[lane];
    warp.arrived = 0;
    warp.odd = false;
  }
  sharedUsed_ = 0;
  variableCount_ = 0;
  forbid(sharedMemory_, kSharedBytes);
  KN_TSAN(blockIsOdd_ = !blockIsOdd_; __tsan_release(&blockEdges_[blockIsOdd_]);)
  const int first = next();
  current_ = first;
  threadIdx = threads_[first].index;
  Fiber* fiber = fiberFor(first);
  running_ = fiber;
  Fiber::switchTo(home_, *fiber);
  KN_TSAN(__tsan_acquire(&blockEdges_[!blockIsOdd_]);)
}

/// The thread whose turn it is, or -1. Goes on with a warp as long as it can: its stacks are in the cache.
KN_UNWATCHED int BlockRunner::next() {
  for (int tried = 0; tried <= warpCount_; ++tried) {
    const int number = warpOrder_[cursor_];
    Warp& warp = warps_[number];
    if (warp.ready) {
      const int turn = __builtin_ctz(warp.ready);
      warp.ready &= warp.ready - 1;
      return number * 32 + laneOrder_[turn];
    }
    cursor_ = cursor_ + 1 == warpCount_ ? 0 : cursor_ + 1;
  }
  return -1;
}

KN_UNWATCHED Fiber* BlockRunner::fiberFor([[maybe_unused]] int thread) {
#if defined(__SANITIZE_THREAD__)
  return fiberOfThread_[thread];
#else
  if (free_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(fiberMain));
    return fibers_.back().get();
  }
  Fiber* fiber = free_.back();
  free_.pop_back();
  return fiber;
#endif
}

KN_UNWATCHED void BlockRunner::fiberMain() {
  BlockRunner& self = *ofThisThread;
  Fiber::arrived(*self.running_);
  for (;;) {
    // An edge to the next block on this OS thread, for the two share their shared memory; none within the block.
    KN_TSAN(__tsan_acquire(&self.blockEdges_[self.blockIsOdd_]);)
    self.launch_->thread();
    KN_TSAN(__tsan_release(&self.blockEdges_[!self.blockIsOdd_]);)
    self.finish();
    self.goOn();
  }
}

KN_UNWATCHED void BlockRunner::finish() {
  if (arrived_ > 0) fail("a thread returns while others wait at __syncthreads", barrierPlace_);
  --alive_;
  if (!kThreadSanitizer) free_.push_back(running_);
}

/// Leaves the running fiber, which is suspended or free.
KN_UNWATCHED void BlockRunner::goOn() {
  Fiber* from = running_;
  Fiber* to = &home_;
  const int thread = next();
  if (thread >= 0) {
    current_ = thread;
    threadIdx = threads_[thread].index;
    to = threads_[thread].fiber;
    if (!to) to = fiberFor(thread);
  } else if (alive_ > 0) {
    deadlock();
  }
  if (to == from) return;
  running_ = to;
  Fiber::switchTo(*from, *to);
}

KN_UNWATCHED void BlockRunner::suspend() {
  threads_[current_].fiber = running_;
  goOn();
}

KN_UNWATCHED void BlockRunner::barrier(Place place) {
  if (arrived_ == 0)
    barrierPlace_ = place;
  else if (!same(barrierPlace_, place))
    fail("divergent __syncthreads: other threads of the block wait at another line", place);
  if (alive_ != count_) fail("__syncthreads after a thread of the block has returned", place);
  [[maybe_unused]] char* edge = &barrierEdges_[odd_];
  KN_TSAN(__tsan_release(edge);)
  if (++arrived_ == count_) {
    arrived_ = 0;
    odd_ = !odd_;
    for (int i = 0; i < warpCount_; ++i)
      for (int lane = 0; lane < warps_[i].lanes; ++lane) warps_[i].ready |= 1u << turnOfLane_[lane];
    warps_[current_ / 32].ready &= ~(1u << turnOfLane_[current_ % 32]);
  } else {
    suspend();
  }
  KN_TSAN(__tsan_acquire(edge);)
}

KN_UNWATCHED const uint64_t* BlockRunner::exchange(uint64_t value, [[maybe_unused]] bool ordered, Place place) {
  Warp& warp = warps_[current_ / 32];
  if (warp.lanes != 32) fail("a warp operation in a warp of fewer than 32 threads", place);
  if (warp.arrived == 0)
    warp.place = place;
  else if (!same(warp.place, place))
    fail("divergent warp operation: other lanes wait at another line", place);
  const int lane = current_ % 32, side = warp.odd;
  warp.values[side][lane] = value;
  KN_TSAN(if (ordered) __tsan_release(&warp.edges[side]);)
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    warp.odd = !warp.odd;
    warp.ready = ~(1u << turnOfLane_[lane]);
  } else {
    suspend();
  }
  KN_TSAN(if (ordered) __tsan_acquire(&warp.edges[side]);)
  return warp.values[side];
}

KN_UNWATCHED void* BlockRunner::shared(const void* key, size_t bytes) {
  for (int i = 0; i < variableCount_; ++i)
    if (variables_[i].key == key) return variables_[i].memory;
  const size_t size = (bytes + kSharedAlign - 1) / kSharedAlign * kSharedAlign;
  if (variableCount_ == 32 || sharedUsed_ + size > kSharedLimit + variableCount_ * kSharedAlign)
    fail("a block declares more than 48 KiB or 32 variables of shared memory", {});
  char* memory = sharedMemory_ + sharedUsed_;
  sharedUsed_ += size + kSharedAlign;
  allow(memory, size);
  poison(memory, size);
  forbid(memory + bytes, size - bytes);
  variables_[variableCount_++] = {key, memory};
  return memory;
}

void BlockRunner::deadlock() {
  if (arrived_ > 0) fail("deadlock: not all threads of the block come to __syncthreads", barrierPlace_);
  for (int i = 0; i < warpCount_; ++i)
    if (warps_[i].arrived > 0) {
      current_ = i * 32;
      threadIdx = threads_[current_].index;
      fail("deadlock: not all lanes of the warp come to the warp operation", warps_[i].place);
    }
  fail("deadlock", {});
}

void BlockRunner::fail(const char* what, Place place) const {
  std::fprintf(stderr, "emulation: %s at %s:%d\n  in %s, block (%u, %u, %u), thread (%u, %u, %u)\n", what,
               place.file ? place.file : "?", place.line, launch_->name().c_str(), blockIdx.x, blockIdx.y, blockIdx.z,
               threadIdx.x, threadIdx.y, threadIdx.z);
  std::fflush(stderr);
  std::abort();
}

}  // namespace kn::emulation
