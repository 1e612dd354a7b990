#include "device_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>

#include "sanitizers.h"
#include "workers.h"

namespace kn::emulation {
namespace {

constexpr size_t kGuard = 64;
// NaN as float32, as bfloat16 and as float16, but not what fresh memory holds.
constexpr unsigned char kGuardBytes[2] = {0xA5, 0xFF};

/// What an allocation takes up, its guard included.
size_t extent(size_t bytes) {
  return (bytes + kGuard + DeviceMemory::kAlign - 1) / DeviceMemory::kAlign * DeviceMemory::kAlign;
}

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static DeviceMemory& memory = *new DeviceMemory;  // never destroyed: streams may still run when the process ends
  return memory;
}

DeviceMemory::DeviceMemory()
    : limit_(static_cast<size_t>(setting("KN_EMULATION_MEMORY", int64_t{8} << 30))),
      // Addresses are for nothing, and a GPU, which maps pages, knows no fragmentation.
      reserved_(4 * limit_ + (64 << 20)) {
  void* memory = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(memory);
  gaps_[kAlign] = reserved_ - kAlign;
  forbid(base_, kAlign);
}

size_t DeviceMemory::used(int device) {
  std::lock_guard lock(mutex_);
  return used_[device];
}

bool DeviceMemory::owns(const void* pointer) const {
  const char* p = static_cast<const char*>(pointer);
  return p >= base_ && p < base_ + reserved_;
}

bool DeviceMemory::contains(const void* pointer, size_t bytes) {
  if (!owns(pointer)) return false;
  const size_t offset = static_cast<const char*>(pointer) - base_;
  std::lock_guard lock(mutex_);
  auto block = live_.upper_bound(offset);
  if (block == live_.begin()) return false;
  --block;
  const size_t size = block->second.bytes, before = offset - block->first;
  return before <= size && bytes <= size - before;
}

int DeviceMemory::deviceOf(const void* pointer) {
  if (!owns(pointer)) return -1;
  const size_t offset = static_cast<const char*>(pointer) - base_;
  std::lock_guard lock(mutex_);
  const auto block = live_.upper_bound(offset);
  if (block == live_.begin()) return -1;
  const auto& [start, allocation] = *std::prev(block);
  return offset - start <= allocation.bytes ? allocation.device : -1;
}

void* DeviceMemory::allocate(size_t bytes, int device) {
  const size_t size = extent(bytes);
  std::lock_guard lock(mutex_);
  if (bytes > limit_ || used_[device] + bytes > limit_) return nullptr;
  auto gap = gaps_.begin();
  while (gap != gaps_.end() && gap->second < size) ++gap;
  if (gap == gaps_.end()) return nullptr;
  const size_t offset = gap->first;
  if (gap->second > size) gaps_[offset + size] = gap->second - size;
  gaps_.erase(gap);
  live_[offset] = {bytes, device};
  used_[device] += bytes;
  ++generation_;
  char* memory = base_ + offset;
  allow(memory, size);
  std::memset(memory, 0xFF, bytes);
  for (size_t i = bytes; i < size; ++i) memory[i] = static_cast<char>(kGuardBytes[i % 2]);
  forbid(memory + bytes, size - bytes);
  return memory;
}

bool DeviceMemory::free(void* pointer) {
  if (!owns(pointer)) return false;
  std::lock_guard lock(mutex_);
  const size_t offset = static_cast<char*>(pointer) - base_;
  const auto block = live_.find(offset);
  if (block == live_.end()) return false;
  const size_t size = extent(block->second.bytes);
  used_[block->second.device] -= block->second.bytes;
  live_.erase(block);
  ++generation_;
  forbid(pointer, size);
  auto gap = gaps_.emplace(offset, size).first;
  const auto after = std::next(gap);
  if (after != gaps_.end() && gap->first + gap->second == after->first) {
    gap->second += after->second;
    gaps_.erase(after);
  }
  if (gap != gaps_.begin()) {
    const auto before = std::prev(gap);
    if (before->first + before->second == gap->first) {
      before->second += gap->second;
      gaps_.erase(gap);
    }
  }
  constexpr size_t page = 4096;
  const size_t from = (offset + page - 1) / page * page, to = (offset + size) / page * page;
  if (to > from) madvise(base_ + from, to - from, MADV_DONTNEED);
  return true;
}

std::vector<DeviceMemory::Block> DeviceMemory::blocks(uint64_t& generation) {
  std::lock_guard lock(mutex_);
  generation = generation_;
  std::vector<Block> result;
  for (const auto& [offset, allocation] : live_) result.push_back({offset, allocation.bytes});
  return result;
}

bool DeviceMemory::intact(const Block& block) const {
  const size_t end = extent(block.bytes);
  for (size_t i = block.bytes; i < end; ++i)
    if (static_cast<unsigned char>(base_[block.offset + i]) != kGuardBytes[i % 2]) return false;
  return true;
}

DeviceMemory::Block DeviceMemory::damaged() {
  if (kAddressSanitizer) return {0, 0};  // which notices at once
  std::lock_guard lock(mutex_);
  for (const auto& [offset, allocation] : live_)
    if (!intact({offset, allocation.bytes})) return {offset, allocation.bytes};
  return {0, 0};
}

}  // namespace kn::emulation
