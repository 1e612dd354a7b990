#include "allocator.h"

#include <algorithm>

namespace kn {

Allocator::Allocator(std::shared_ptr<MemorySource> source, size_t limit) : source_(std::move(source)), limit_(limit) {}

Allocator::~Allocator() {
  trim();
  for (auto& [data, bytes] : live_) source_->free(data, bytes);
}

size_t Allocator::blockSize(size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  return std::max<size_t>(bytes, 1);  // so that the first byte behind it is nobody's
#endif
  constexpr size_t smallest = 64;
  if (bytes <= 8 * smallest) return std::max(smallest, (bytes + smallest - 1) / smallest * smallest);
  const int top = 63 - __builtin_clzll(bytes);
  const size_t step = size_t{1} << (top - 3);
  return (bytes + step - 1) / step * step;
}

void* Allocator::allocate(size_t bytes) {
  const size_t size = blockSize(bytes);
  std::lock_guard lock(mutex_);
  void* data = nullptr;
  if (auto found = pooled_.find(size); found != pooled_.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
  } else {
    if (limit_ && stats_.reserved + size > limit_) return nullptr;
    data = source_->allocate(size);
    if (!data) return nullptr;
    stats_.reserved += size;
    ++stats_.systemAllocations;
  }
  live_.emplace(data, size);
  ++stats_.allocations;
  ++stats_.live;
  stats_.inUse += size;
  stats_.peakInUse = std::max(stats_.peakInUse, stats_.inUse);
  return data;
}

void Allocator::free(void* data) {
  std::lock_guard lock(mutex_);
  const auto found = live_.find(data);
  const size_t size = found->second;
  live_.erase(found);
  pooled_[size].push_back(data);
  stats_.inUse -= size;
  --stats_.live;
}

void Allocator::trim() {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : pooled_) {
    for (void* data : blocks) source_->free(data, size);
    stats_.reserved -= size * blocks.size();
  }
  pooled_.clear();
}

MemoryStats Allocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Allocator::resetPeak() {
  std::lock_guard lock(mutex_);
  stats_.peakInUse = stats_.inUse;
}

}  // namespace kn
