#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "errors.h"

namespace kn::emulation {

/// The memory of all devices: one range of addresses, so that a pointer in an old record still says which byte it
/// means. Fresh memory is NaN in every float type; behind each allocation lies a guard that nobody may write.
class DeviceMemory {
 public:
  static constexpr size_t kAlign = 256;
  struct Block {
    size_t offset, bytes;
  };

  static DeviceMemory& instance();

  char* base() const { return base_; }
  /// Of each device.
  size_t limit() const { return limit_; }
  size_t used(int device);
  /// Null where the limit is reached.
  void* allocate(size_t bytes, int device);
  /// False if `pointer` is no allocation.
  bool free(void* pointer);
  bool owns(const void* pointer) const;
  /// True if all of the range belongs to one allocation.
  bool contains(const void* pointer, size_t bytes);
  /// Whose memory the address, or the one before it, is; -1 for nobody's.
  int deviceOf(const void* pointer);
  /// The live allocations, and a number that changes with them.
  std::vector<Block> blocks(uint64_t& generation);
  /// An allocation whose guard has been written, or one of 0 bytes.
  Block damaged();

 private:
  DeviceMemory();
  bool intact(const Block& block) const;

  char* base_;
  struct Allocation {
    size_t bytes;
    int device;
  };

  size_t limit_, reserved_;
  size_t used_[kMostDevices] = {};
  uint64_t generation_ = 1;
  std::mutex mutex_;
  std::map<size_t, Allocation> live_;  ///< by offset
  std::map<size_t, size_t> gaps_;      ///< extents by offset
};

}  // namespace kn::emulation
