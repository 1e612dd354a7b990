#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace kn {

struct MemoryStats {
  size_t inUse = 0;                ///< bytes of live tensors, rounded up to their blocks
  size_t reserved = 0;             ///< bytes held from the system: live and pooled
  size_t peakInUse = 0;            ///< the largest inUse since the last resetPeak
  uint64_t allocations = 0;        ///< blocks handed out so far
  uint64_t systemAllocations = 0;  ///< of these, how many the pool couldn't serve
  uint64_t live = 0;               ///< blocks in use
};

/// Where a pool gets its memory from; `allocate` returns null when there is none.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  /// So many small blocks of a size lie idle before one of them is used again, the one that has lain longest: work that
  /// runs beside other work (CUDA's branches) would have to wait for whoever used it before.
  virtual size_t resting() const { return 0; }
  virtual void* allocate(size_t bytes) = 0;
  virtual void free(void* data, size_t bytes) = 0;
};

/// A pool whose blocks are reused in stream order: a block may be handed out again as soon as it is freed, because
/// whatever is enqueued from then on runs after whatever was enqueued before.
class Allocator {
 public:
  /// `limit`: bytes that this pool, with those that borrow from it, may reserve; 0 for no limit.
  Allocator(std::shared_ptr<MemorySource> source, size_t limit);
  /// A pool that borrows: blocks that the lender has pooled, or else new ones within its limit. At its end it gives all
  /// of them back, to be used again in stream order. So a step that has run once is recorded without any memory from
  /// the system, and nothing is freed there, which would wait for the device, when the recording goes.
  explicit Allocator(std::shared_ptr<Allocator> lender);
  ~Allocator();
  Allocator(const Allocator&) = delete;

  /// Returns null when neither the pool nor the system has room.
  void* allocate(size_t bytes);
  void free(void* data);
  /// Gives pooled blocks back to where they came from. The caller has made sure that no enqueued work touches them.
  void trim();
  /// Whether a request can be met without a new block.
  bool hasIdle(size_t bytes) const;
  /// Whether it is within a block in use.
  bool holds(const void* address) const;
  MemoryStats stats() const;
  void resetPeak();

  /// The size of the block that serves a request: at most an eighth is wasted, so that near sizes share blocks.
  static size_t blockSize(size_t bytes);

 private:
  /// A block of the pool, of which `resting` stay as long as there are new ones, or a new one, counted as reserved; or
  /// null. With the mutex held.
  void* take(size_t size, size_t resting);
  void* takeNew(size_t size);
  void* lend(size_t size);
  void takeBack(void* data, size_t size);
  void giveAway(void* data, size_t size);

  mutable std::mutex mutex_;
  std::shared_ptr<MemorySource> source_;  ///< null for a pool that borrows
  std::shared_ptr<Allocator> lender_;     ///< null for one that doesn't
  size_t limit_ = 0;
  size_t resting_ = 0;  ///< see MemorySource
  size_t lent_ = 0;     ///< bytes that count as reserved by whoever borrows them
  std::map<size_t, std::vector<void*>> pooled_;
  std::map<void*, size_t> live_;
  MemoryStats stats_;
};

}  // namespace kn
