// Collectives between processes, by Gloo: an addon of its own, built where Gloo is found and loaded when a group is
// made. Every call returns a promise and runs in a thread of libuv's pool; lib/distributed makes them one after the
// other.
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <napi.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "../core/runtime/collective.h"
#include "../core/runtime/error.h"

namespace {

using Mesh = std::shared_ptr<gloo::rendezvous::Context>;

/// A promise that is kept when `body` has run in another thread. The object, a typed array whose memory is worked on,
/// stays alive until then.
class Work : public Napi::AsyncWorker {
 public:
  static Napi::Promise start(const Napi::Object& object, std::function<void()> body) {
    auto* work = new Work(object, std::move(body));
    const Napi::Promise promise = work->deferred_.Promise();
    work->Queue();
    return promise;
  }

 private:
  Work(const Napi::Object& object, std::function<void()> body)
      : AsyncWorker(object.Env()), deferred_(object.Env()), object_(Napi::Persistent(object)), body_(std::move(body)) {}

  void Execute() override { body_(); }
  void OnOK() override { deferred_.Resolve(object_.Value()); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference object_;
  std::function<void()> body_;
};

/// For threads of devices, which wait for the others themselves.
class GlooCollective : public kn::Collective {
 public:
  explicit GlooCollective(Mesh mesh) : mesh_(std::move(mesh)) {}
  int rank() const override { return mesh_->rank; }
  int size() const override { return mesh_->size; }

  void allGather(float* rows, int64_t count) override {
    gloo::AllgatherOptions options(mesh_);
    // Apart from the calls that promises stand for, which may be under way.
    options.setTag(1);
    options.setOutput(rows, static_cast<size_t>(count * size()));
    try {
      gloo::allgather(options);
    } catch (const std::exception& error) {
      throw kn::Error(kn::ErrorCode::GroupFailed, error.what());
    }
  }

 private:
  const Mesh mesh_;
};

/// The connections of one process with all others of its group.
class Group : public Napi::ObjectWrap<Group> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "GlooGroup",
                       {InstanceMethod<&Group::connect>("connect"), InstanceMethod<&Group::allReduce>("allReduce"),
                        InstanceMethod<&Group::broadcast>("broadcast"), InstanceMethod<&Group::allGather>("allGather"),
                        InstanceMethod<&Group::barrier>("barrier"), InstanceMethod<&Group::close>("close"),
                        InstanceMethod<&Group::collective>("collective")});
  }

  /// (rank, size, timeout in milliseconds). Whoever calls has checked them.
  explicit Group(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    mesh_ =
        std::make_shared<gloo::rendezvous::Context>(info[0].ToNumber().Int32Value(), info[1].ToNumber().Int32Value());
    mesh_->setTimeout(std::chrono::milliseconds(info[2].ToNumber().Int64Value()));
  }

 private:
  /// (folder): meets the others, through files in a folder that all of them see.
  Napi::Value connect(const Napi::CallbackInfo& info) {
    return Work::start(info.This().ToObject(), [mesh = mesh_, folder = info[0].ToString().Utf8Value()] {
      // Gloo's connections know no password, so that they must not leave the machine.
      auto device = gloo::transport::tcp::CreateDevice("127.0.0.1");
      gloo::rendezvous::FileStore store(folder);
      mesh->connectFullMesh(store, device);
    });
  }

  /// (values): the sum over all processes in each, in place. The ring gives the same bits to all.
  Napi::Value allReduce(const Napi::CallbackInfo& info) {
    auto values = info[0].As<Napi::Float32Array>();
    return Work::start(values, [mesh = mesh_, data = values.Data(), count = values.ElementLength()] {
      gloo::AllreduceOptions options(mesh);
      options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
      options.setOutput(data, count);
      options.setReduceFunction(static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
      gloo::allreduce(options);
    });
  }

  /// (bytes, root): those of one process in all.
  Napi::Value broadcast(const Napi::CallbackInfo& info) {
    auto bytes = info[0].As<Napi::Uint8Array>();
    const int root = info[1].ToNumber().Int32Value();
    return Work::start(bytes, [mesh = mesh_, root, data = bytes.Data(), count = bytes.ElementLength()] {
      gloo::BroadcastOptions options(mesh);
      options.setRoot(root);
      options.setOutput(data, count);
      gloo::broadcast(options);
    });
  }

  /// (all): room for the bytes of all processes; those of this one are in their place.
  Napi::Value allGather(const Napi::CallbackInfo& info) {
    auto all = info[0].As<Napi::Uint8Array>();
    return Work::start(all, [mesh = mesh_, data = all.Data(), count = all.ElementLength()] {
      gloo::AllgatherOptions options(mesh);
      options.setOutput(data, count);
      gloo::allgather(options);
    });
  }

  Napi::Value barrier(const Napi::CallbackInfo& info) {
    return Work::start(info.This().ToObject(), [mesh = mesh_] {
      gloo::BarrierOptions options(mesh);
      gloo::barrier(options);
    });
  }

  /// What the addon of the devices can call.
  Napi::Value collective(const Napi::CallbackInfo& info) {
    using Held = std::shared_ptr<kn::Collective>;
    const auto external = Napi::External<Held>::New(info.Env(), new Held(std::make_shared<GlooCollective>(mesh_)),
                                                    [](Napi::Env, Held* held) { delete held; });
    constexpr napi_type_tag tag{kn::Collective::kTag[0], kn::Collective::kTag[1]};
    if (napi_type_tag_object(info.Env(), external, &tag) != napi_ok) throw Napi::Error::New(info.Env());
    return external;
  }

  /// Ends all connections; what others wait for fails there.
  void close(const Napi::CallbackInfo&) {
    try {
      mesh_->closeConnections();
    } catch (const std::exception&) {
      // The group never came together: there are none.
    }
  }

  Mesh mesh_;
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("GlooGroup", Group::define(env));
  return exports;
}

NODE_API_MODULE(kalman_norm_gloo, init)

}  // namespace
