#include "completions.h"

#include <algorithm>

namespace kn::addon {

Completions::Completions(Napi::Env env) : env_(env) {
  inbox_->bell = Bell::New(env, "kalman-norm", 0, 1, this);
  inbox_->bell.Unref(env);
}

void Completions::after(const std::shared_ptr<Device>& device, Callback callback) {
  if (closed_) {
    device->synchronize();
    return;
  }
  const uint64_t id = next_++;
  device->whenDone([inbox = inbox_, id](const Failure& failure) {
    std::lock_guard lock(inbox->mutex);
    if (!inbox->open) return;
    inbox->done.emplace_back(id, failure);
    if (inbox->done.size() == 1) inbox->bell.NonBlockingCall();
  });
  // Only this thread delivers, so the callback is in place in time.
  if (waiting_.empty()) inbox_->bell.Ref(env_);
  waiting_.emplace(id, Waiting{device, std::move(callback)});
}

void Completions::cancel(const Device& device) {
  const Error cancelled(ErrorCode::Cancelled, device.name() + ": cancelled before it had run");
  for (auto& [id, waiting] : waiting_) {
    if (waiting.device.get() != &device || std::exchange(waiting.called, true)) continue;
    waiting.callback(env_, &cancelled);
  }
}

bool Completions::awaits(const Device& device) const {
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [&](const auto& entry) { return entry.second.device.get() == &device && !entry.second.called; });
}

void Completions::wake(Napi::Env env, Napi::Function, Completions* self, void*) {
  if (static_cast<napi_env>(env)) self->deliver(env);
}

void Completions::deliver(Napi::Env env) {
  std::vector<std::pair<uint64_t, Failure>> done;
  {
    std::lock_guard lock(inbox_->mutex);
    done.swap(inbox_->done);
  }
  for (auto& [id, failure] : done) {
    auto entry = waiting_.extract(id);
    if (entry.empty() || entry.mapped().called) continue;
    const Error error(failure.code, failure.reason);
    entry.mapped().callback(env, failure ? &error : nullptr);
  }
  if (waiting_.empty()) inbox_->bell.Unref(env);
}

void Completions::close() {
  if (closed_) return;
  closed_ = true;
  {
    std::lock_guard lock(inbox_->mutex);
    inbox_->open = false;
  }
  for (const auto& [id, waiting] : waiting_) waiting.device->synchronize();
  waiting_.clear();
  inbox_->bell.Release();
}

}  // namespace kn::addon
