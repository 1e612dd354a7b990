#include "allocator.h"

#include <algorithm>

namespace kn {

Allocator::Allocator(std::shared_ptr<MemorySource> source, size_t limit) : source_(std::move(source)), limit_(limit) {}

Allocator::Allocator(std::shared_ptr<Allocator> lender) : lender_(std::move(lender)) {}

Allocator::~Allocator() {
  trim();
  for (auto& [data, bytes] : live_) giveAway(data, bytes);
}

void Allocator::giveAway(void* data, size_t size) {
  if (lender_) {
    lender_->takeBack(data, size);
  } else {
    source_->free(data, size);
  }
}

void* Allocator::take(size_t size) {
  if (auto found = pooled_.find(size); found != pooled_.end() && !found->second.empty()) {
    void* data = found->second.back();
    found->second.pop_back();
    return data;
  }
  const bool fits = !limit_ || stats_.reserved + lent_ + size <= limit_;
  void* data = lender_ ? lender_->lend(size) : fits ? source_->allocate(size) : nullptr;
  if (!data) return nullptr;
  stats_.reserved += size;
  ++stats_.systemAllocations;
  return data;
}

void* Allocator::lend(size_t size) {
  std::lock_guard lock(mutex_);
  void* data = take(size);
  if (!data) return nullptr;
  stats_.reserved -= size;
  lent_ += size;
  return data;
}

void Allocator::takeBack(void* data, size_t size) {
  std::lock_guard lock(mutex_);
  pooled_[size].push_back(data);
  stats_.reserved += size;
  lent_ -= size;
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
  void* data = take(size);
  if (!data) return nullptr;
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
    for (void* data : blocks) giveAway(data, size);
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
