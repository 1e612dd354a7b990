#include "garbage.h"

#include <algorithm>

#include "handle.h"

namespace kn::addon {

void Garbage::adopt(const std::shared_ptr<Device>& device) {
  std::erase_if(devices_, [](const auto& known) { return known.expired(); });
  devices_.push_back(device);
}

void Garbage::add(Handle& handle) {
  handle.place = handles_.size();
  handles_.push_back(&handle);
  unseen_ += handle.tensor.storage->bytes;
  if (unseen_ >= kStep) look();
}

void Garbage::remove(Handle& handle) {
  handles_.back()->place = handle.place;
  handles_[handle.place] = handles_.back();
  handles_.pop_back();
}

bool Garbage::collect() {
  press();
  // Where V8 was marking already, it kept what had been reachable when it began; the next time it starts afresh.
  const bool found = sweep() || (press(), sweep());
  const size_t now = held();
  tell(now);
  threshold_ = std::max(kQuiet, 2 * now);
  return found;
}

void Garbage::press() {
  // N-API has no call for a collection. Told of more memory than half of the heap's limit, V8 collects before it
  // returns.
  constexpr int64_t pressure = int64_t{1} << 50;
  Napi::MemoryManagement::AdjustExternalMemory(env_, pressure);
  Napi::MemoryManagement::AdjustExternalMemory(env_, -pressure);
}

bool Garbage::sweep() {
  const Napi::HandleScope scope(env_);
  std::vector<Handle*> unreachable;
  for (Handle* handle : handles_) {
    const Napi::HandleScope each(env_);
    if (handle->Value().IsEmpty()) unreachable.push_back(handle);
  }
  for (Handle* handle : unreachable) handle->release();
  return !unreachable.empty();
}

void Garbage::look() {
  unseen_ = 0;
  const size_t now = held();
  if (now > threshold_) {
    collect();
  } else if (now > told_) {
    tell(now);
  }
}

void Garbage::tell(size_t bytes) {
  const int64_t change = static_cast<int64_t>(bytes) - static_cast<int64_t>(told_);
  told_ = bytes;
  Napi::MemoryManagement::AdjustExternalMemory(env_, change);
}

size_t Garbage::held() const {
  size_t bytes = 0;
  for (const auto& known : devices_) {
    if (const auto device = known.lock()) bytes += device->memoryStats().inUse;
  }
  return bytes;
}

}  // namespace kn::addon
