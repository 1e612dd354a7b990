#pragma once
#include <cstdint>
#include <vector>

namespace kn {

/// What the processes of a group do together in the midst of a device's stream. Objects of it come from the addons of
/// native/distributed, marked with this tag; another one is due whenever the class changes.
class Collective {
 public:
  static constexpr uint64_t kTag[2] = {0x4b6e0a1c93d27f58, 0x9c27f1d64e8a0b35};

  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Gathers rows of `count` values in the order of ranks; this process's own is in its place. Blocks until all have
  /// come, so only a thread of a device may call it. Throws GroupFailed where one doesn't come.
  virtual void allGather(float* rows, int64_t count) = 0;
  /// Overwrites values with their sums or means over all processes, the same bits in each; otherwise as `allGather`,
  /// beside which it may be under way.
  virtual void allReduce(float* values, int64_t count, bool mean) = 0;
};

/// float32 values of a device, one behind the other.
struct FloatBlock {
  float* data;
  int64_t count;
};
inline int64_t valuesOf(const std::vector<FloatBlock>& blocks) {
  int64_t count = 0;
  for (const FloatBlock& block : blocks) count += block.count;
  return count;
}

}  // namespace kn
