// JPEGs to planes of pixels in threads of their own, by libjpeg-turbo: an addon of its own, built where its headers
// are.
#include <napi.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "job.h"

namespace {

using kn::jpeg::Box;
using kn::jpeg::Job;

/// A job with what it is waited for by.
struct Task {
  Job job;
  int size;
  bool beyond, whole;
  uint8_t* pixels;
  Napi::Promise::Deferred promise;
  Napi::FunctionReference choose;
  /// The pool, and the arrays that are read from and written to, stay alive until the end.
  Napi::ObjectReference pool, image, into;

  /// What has been done last.
  enum { Queued, Opened, Refused, Decoded, Failed } state = Queued;
  Box part{};
  std::string failure{};

  /// In a thread of the pool: the next step.
  void advance() {
    try {
      if (state == Queued) {
        state = job.open() ? Opened : Refused;
      } else {
        job.decode(part, beyond, whole, size, pixels);
        state = Decoded;
      }
    } catch (const std::exception& error) {
      state = Failed;
      failure = error.what();
    }
  }
};

/// Threads that decode.
class JpegPool : public Napi::ObjectWrap<JpegPool> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "JpegPool", {InstanceMethod<&JpegPool::decode>("decode")});
  }

  /// (threads): as many at most; each is started when it is needed. Whoever calls has checked it.
  explicit JpegPool(const Napi::CallbackInfo& info)
      : ObjectWrap(info),
        env_(info.Env()),
        most_(info[0].ToNumber().Uint32Value()),
        bell_(Bell::New(info.Env(), "kalman-norm jpeg", 0, 1, this)),
        hook_(info.Env().AddCleanupHook(&JpegPool::leave, this)) {
    bell_.Unref(env_);
  }

  ~JpegPool() override {
    if (stopping_) return;
    hook_.Remove(env_);
    stop();
  }

 private:
  static void leave(JpegPool* self) { self->stop(); }
  static void wake(Napi::Env env, Napi::Function, JpegPool* self, void*) {
    if (static_cast<napi_env>(env)) self->deliver();
  }
  using Bell = Napi::TypedThreadSafeFunction<JpegPool, void, &JpegPool::wake>;

  /// (path or bytes, into, size, choose, beyond, whole): a promise of whether it was decoded; false, where it is for
  /// others. `choose` is told width and height, as the picture is seen, and gives left, top, width and height of the
  /// part.
  Napi::Value decode(const Napi::CallbackInfo& info) {
    auto into = info[1].As<Napi::Uint8Array>();
    const int size = info[2].ToNumber().Int32Value();
    if (size < 1 || into.ByteLength() != 3 * static_cast<size_t>(size) * size) {
      throw Napi::RangeError::New(env_, "expected room for 3 planes of size × size pixels");
    }
    auto task = std::make_unique<Task>(Task{
        .job = jobFor(info[0]),
        .size = size,
        .beyond = info[4].ToBoolean(),
        .whole = info[5].ToBoolean(),
        .pixels = into.Data(),
        .promise = Napi::Promise::Deferred::New(env_),
        .choose = Napi::Persistent(info[3].As<Napi::Function>()),
        .pool = Napi::Persistent(info.This().ToObject()),
        .image = info[0].IsString() ? Napi::ObjectReference() : Napi::Persistent(info[0].ToObject()),
        .into = Napi::Persistent(static_cast<Napi::Object>(into)),
    });
    const Napi::Promise promise = task->promise.Promise();
    enqueue(queued_, std::move(task));
    if (pending_++ == 0) bell_.Ref(env_);
    return promise;
  }

  static Job jobFor(const Napi::Value& image) {
    if (image.IsString()) return Job(image.ToString().Utf8Value());
    const auto bytes = image.As<Napi::Uint8Array>();
    return {bytes.Data(), bytes.ByteLength()};
  }

  using Queue = std::deque<std::unique_ptr<Task>>;

  void enqueue(Queue& queue, std::unique_ptr<Task> task) {
    const std::lock_guard lock(mutex_);
    if (idle_ <= queued_.size() + chosen_.size() && threads_.size() < most_) startThread();
    queue.push_back(std::move(task));
    ready_.notify_one();
  }

  void startThread() {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      // The system gives no more; fewer do it, too.
      if (threads_.empty()) throw Napi::Error::New(env_, error.what());
    }
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      idle_++;
      ready_.wait(lock, [this] { return stopping_ || !queued_.empty() || !chosen_.empty(); });
      idle_--;
      if (stopping_) return;
      // Those that have begun come first, as they hold memory.
      Queue& queue = chosen_.empty() ? queued_ : chosen_;
      std::unique_ptr<Task> task = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      task->advance();
      lock.lock();
      done_.push_back(std::move(task));
      if (done_.size() == 1) bell_.NonBlockingCall();
    }
  }

  /// In JavaScript's thread: goes on with what has been done.
  void deliver() {
    Queue done;
    {
      const std::lock_guard lock(mutex_);
      done.swap(done_);
    }
    for (auto& task : done) {
      const Napi::HandleScope scope(env_);
      try {
        if (task->state == Task::Failed) throw Napi::Error::New(env_, task->failure);
        if (task->state == Task::Opened) {
          task->part = chosenPart(*task);
          enqueue(chosen_, std::move(task));
          continue;
        }
        task->promise.Resolve(Napi::Boolean::New(env_, task->state == Task::Decoded));
      } catch (const Napi::Error& error) {
        task->promise.Reject(error.Value());
      }
      task.reset();
      if (--pending_ == 0) bell_.Unref(env_);
    }
  }

  Box chosenPart(const Task& task) const {
    const auto of = [&](int pixels) { return Napi::Number::New(env_, pixels); };
    const auto part = task.choose.Call({of(task.job.width()), of(task.job.height())}).ToObject();
    const auto at = [&](uint32_t i) { return part.Get(i).ToNumber().DoubleValue(); };
    return {at(0), at(1), at(2), at(3)};
  }

  /// Waits for what is being decoded, so that nothing writes to memory of JavaScript any more, and drops the rest.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    ready_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    for (Queue* queue : {&queued_, &chosen_, &done_}) queue->clear();
    bell_.Release();
  }

  const Napi::Env env_;
  const size_t most_;
  Bell bell_;
  Napi::Env::CleanupHook<void (*)(JpegPool*), JpegPool> hook_;
  /// Tasks that are waited for; of JavaScript's thread.
  size_t pending_ = 0;

  std::mutex mutex_;
  std::condition_variable ready_;
  Queue queued_, chosen_, done_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

#define KN_TEXT_OF(value) #value
#define KN_TEXT(macro) KN_TEXT_OF(macro)

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("JpegPool", JpegPool::define(env));
  exports.Set("version", Napi::String::New(env, KN_TEXT(LIBJPEG_TURBO_VERSION)));
  return exports;
}

NODE_API_MODULE(kalman_norm_jpeg, init)

}  // namespace
