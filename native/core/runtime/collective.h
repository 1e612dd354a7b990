#pragma once
#include <cstdint>

namespace kn {

/// What the processes of a group do together in the midst of a device's stream. Objects of it come from the addons of
/// native/distributed, marked with this tag; another one is due whenever the class changes.
class Collective {
 public:
  static constexpr uint64_t kTag[2] = {0x4b6e0a1c93d27f58, 0xa51e64c70db8f392};

  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Gathers rows of `count` values in the order of ranks; this process's own is in its place. Blocks until all have
  /// come, so only a thread of a device may call it. Throws GroupFailed where one doesn't come.
  virtual void allGather(float* rows, int64_t count) = 0;
};

}  // namespace kn
