#pragma once
#include "../../core/runtime/allocator.h"

namespace kn::cuda {

/// Memory of the current device.
class DeviceMemory : public MemorySource {
 public:
  explicit DeviceMemory(int deviceIndex) : deviceIndex_(deviceIndex) {}
  size_t resting() const override { return 4; }
  void* allocate(size_t bytes) override;
  void free(void* data, size_t bytes) override;

 private:
  const int deviceIndex_;
};

/// Memory of the host that stays where it is, so that copies run beside the host's own work.
class PinnedMemory : public MemorySource {
 public:
  void* allocate(size_t bytes) override;
  void free(void* data, size_t bytes) override;
};

}  // namespace kn::cuda
