#include "host_buffers.h"

namespace kn::addon {

Napi::Value HostBuffers::wrap(Napi::Env env, const std::shared_ptr<void>& memory, size_t bytes) {
  std::erase_if(blocks_, [](const auto& known) { return known.second.memory.expired(); });
  using Held = std::shared_ptr<void>;
  const auto buffer = Napi::ArrayBuffer::New(
      env, memory.get(), bytes, [](Napi::Env, void*, Held* held) { delete held; }, new Held(memory));
  blocks_[static_cast<const uint8_t*>(memory.get())] = {bytes, memory};
  return Napi::Uint8Array::New(env, bytes, buffer, 0);
}

std::shared_ptr<void> HostBuffers::find(const void* data, size_t bytes) const {
  const auto* first = static_cast<const uint8_t*>(data);
  auto after = blocks_.upper_bound(first);
  if (after == blocks_.begin()) return nullptr;
  const auto& [start, block] = *--after;
  const bool within = first + bytes <= start + block.bytes;
  return within ? block.memory.lock() : nullptr;
}

}  // namespace kn::addon
