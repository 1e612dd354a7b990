#include "allocator.h"

#include <algorithm>
#include <iterator>

namespace kn {
namespace {

/// Larger blocks are used again at once: beside the work on them a wait is short.
constexpr size_t kRestingBytes = size_t{512} << 10;

}  // namespace

Allocator::Allocator(std::shared_ptr<MemorySource> source, size_t limit)
    : source_(std::move(source)), limit_(limit), resting_(source_->resting()) {}

Allocator::Allocator(std::shared_ptr<Allocator> lender) : lender_(std::move(lender)), resting_(lender_->resting_) {}

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

void* Allocator::take(size_t size, size_t resting) {
  if (size > kRestingBytes) resting = 0;
  std::vector<void*>& idle = pooled_[size];
  // Rather than have a lender ask the system, a pool that borrows uses what it has.
  if (idle.empty() || (idle.size() <= resting && (!lender_ || lender_->hasIdle(size)))) {
    void* const data = takeNew(size);
    if (data || idle.empty()) return data;
  }
  const auto chosen = resting ? idle.begin() : idle.end() - 1;
  void* const data = *chosen;
  idle.erase(chosen);
  return data;
}

void* Allocator::takeNew(size_t size) {
  const bool fits = !limit_ || stats_.reserved + lent_ + size <= limit_;
  void* data = lender_ ? lender_->lend(size) : fits ? source_->allocate(size) : nullptr;
  if (!data) return nullptr;
  stats_.reserved += size;
  ++stats_.systemAllocations;
  return data;
}

void* Allocator::lend(size_t size) {
  std::lock_guard lock(mutex_);
  void* data = take(size, 0);
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
  void* data = take(size, resting_);
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

bool Allocator::hasIdle(size_t bytes) const {
  {
    std::lock_guard lock(mutex_);
    const auto found = pooled_.find(blockSize(bytes));
    if (found != pooled_.end() && !found->second.empty()) return true;
  }
  return lender_ && lender_->hasIdle(bytes);
}

bool Allocator::holds(const void* address) const {
  std::lock_guard lock(mutex_);
  const auto behind = live_.upper_bound(const_cast<void*>(address));
  if (behind == live_.begin()) return false;
  const auto& [data, size] = *std::prev(behind);
  return static_cast<const char*>(address) < static_cast<const char*>(data) + size;
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
