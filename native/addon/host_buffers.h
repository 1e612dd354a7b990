#pragma once
#include <napi.h>

#include <map>
#include <memory>

namespace kn::addon {

/// Memory of the host that devices copy from directly, as JavaScript's Uint8Arrays.
class HostBuffers {
 public:
  /// `memory`, of which the array keeps hold.
  Napi::Value wrap(Napi::Env env, const std::shared_ptr<void>& memory, size_t bytes);
  /// The memory that all of these bytes lie in, sharing hold of it; null where they lie elsewhere.
  std::shared_ptr<void> find(const void* data, size_t bytes) const;

 private:
  struct Block {
    size_t bytes;
    std::weak_ptr<void> memory;
  };
  std::map<const uint8_t*, Block> blocks_;
};

}  // namespace kn::addon
