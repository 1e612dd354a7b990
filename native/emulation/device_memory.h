#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace kn::emulation {

/// The device's memory: one range of addresses, so that a pointer in an old record still says which byte it means.
/// Fresh memory is NaN in every float type; behind each allocation lies a guard that nobody may write.
class DeviceMemory {
 public:
  static constexpr size_t kAlign = 256;
  struct Block {
    size_t offset, bytes;
  };

  static DeviceMemory& instance();

  char* base() const { return base_; }
  size_t limit() const { return limit_; }
  size_t used();
  /// Null where the limit is reached.
  void* allocate(size_t bytes);
  /// False if `pointer` is no allocation.
  bool free(void* pointer);
  bool owns(const void* pointer) const;
  /// True if all of the range belongs to one allocation.
  bool contains(const void* pointer, size_t bytes);
  /// The live allocations, and a number that changes with them.
  std::vector<Block> blocks(uint64_t& generation);
  /// An allocation whose guard has been written, or one of 0 bytes.
  Block damaged();

 private:
  DeviceMemory();
  bool intact(const Block& block) const;

  char* base_;
  size_t limit_, reserved_, used_ = 0;
  uint64_t generation_ = 1;
  std::mutex mutex_;
  std::map<size_t, size_t> live_;  ///< bytes by offset
  std::map<size_t, size_t> gaps_;  ///< extents by offset
};

}  // namespace kn::emulation
