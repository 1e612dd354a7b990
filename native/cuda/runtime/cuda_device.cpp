#include "cuda_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "branches.h"
#include "cuda_memory.h"
#include "driver.h"
#include "first_failure.h"
#include "host_exchange.h"
#include "../device/kernels.h"
#include "../nvidia/libraries.h"
#include "profiler.h"
#include "progress.h"
#include "waiter.h"

namespace kn::cuda {
namespace {

/// Before a larger host block is taken, those that lie idle are given back: of data sets there is one at most.
constexpr size_t kPooledHostBytes = size_t{32} << 20;

const char* precisionName(Precision precision) {
  switch (precision) {
    case Precision::Float32: return "fp32";
    case Precision::TF32: return "tf32";
    case Precision::Float16: return "fp16";
    case Precision::BFloat16: return "bf16";
  }
  return "fp32";
}

DType storedType(Precision precision) {
  return precision == Precision::Float16 ? DType::F16 : precision == Precision::BFloat16 ? DType::BF16 : DType::F32;
}

#ifdef KN_EMULATION
constexpr bool kPoisoned = true;
#else
constexpr bool kPoisoned = false;
#endif

/// Whether an environment variable is 1.
bool isSet(const char* variable, bool otherwise = false) {
  const char* value = std::getenv(variable);
  return value ? std::strcmp(value, "1") == 0 : otherwise;
}

/// A captured step: the graph, and the memory that its launches use.
struct Recording {
  GraphExec graph;
  size_t launches = 0;
  std::shared_ptr<Allocator> pool;
  std::set<std::shared_ptr<Storage>> retained;
  std::vector<std::shared_ptr<HostExchange>> hostExchanges;  ///< parts of the graph
};

class CudaDevice;

class CudaProgram : public Program {
 public:
  CudaProgram(CudaDevice* device, std::shared_ptr<Recording> recording);
  ~CudaProgram() override;
  size_t launches() const override { return recording->launches; }
  MemoryStats memory() const override { return recording->pool->stats(); }

  std::shared_ptr<Recording> recording;

 private:
  CudaDevice& owner_;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(const CudaOptions& options)
      : Device(std::make_shared<DeviceMemory>(options.index), options.memoryLimit),
        index_(options.index),
        precision_(options.precision),
        debugSync_(isSet("KN_DEBUG_SYNC")),
        debugPoison_(isSet("KN_DEBUG_POISON", kPoisoned)),
        debugBranches_(isSet("KN_DEBUG_BRANCHES", true)),
        debugGraph_(std::getenv("KN_DEBUG_GRAPH") ? std::getenv("KN_DEBUG_GRAPH") : ""),
        stream_(openStream(options.index)),
        outside_(makeStream()),
        exchanges_(makeStream()),
        branches_(stream_),
        hostPool_(std::make_shared<Allocator>(std::make_shared<PinnedMemory>(), 0)),
        waiter_(options.index) {
    KN_CUDA_CHECK(cudaMalloc(tickets_.out(), kBranches * kTickets * sizeof(unsigned)));
    KN_CUDA_CHECK(cudaMemsetAsync(tickets_.get(), 0, kBranches * kTickets * sizeof(unsigned), stream_.get()));
    context_.tickets = static_cast<unsigned*>(tickets_.get());
    context_.stream = stream_.get();
    context_.tf32 = precision_ == Precision::TF32;
    context_.scratch = [this](size_t bytes) {
      auto memory = allocate(bytes, "scratch of a launch");
      branches_.touch({memory->data, static_cast<int64_t>(bytes), true});
      return memory;
    };
    libraries_ = openLibraries(context_, {options.deterministic, options.benchmark});
    context_.libraries = libraries_.get();
  }

  ~CudaDevice() override {
    use();
    for (const Stream* stream : {&stream_, &exchanges_})
      succeeded(waitFor([stream] { return cudaStreamSynchronize(stream->get()); }));
  }

  std::string name() const override { return deviceName(index_); }
  std::string description() const override {
    const CudaDeviceInfo info = deviceInfo(index_);
    std::ostringstream text;
    text << "CUDA: " << info.name << " (compute capability " << info.capability << ", " << (info.memory >> 20)
         << " MiB), " << precisionName(precision_) << ", " << driverVersions() << ", " << libraries_->versions();
    return text.str();
  }

  void whenDone(std::function<void(const Failure&)> done) override {
    use();
    waiter_.after(running(), [this, done = std::move(done)](const Failure& failure) {
      failure_.note(failure);
      done(failure_.known());
    });
  }

  void synchronize() override {
    use();
    if (!recording()) waitFor([this] { return cudaStreamSynchronize(exchanges_.get()); });
    const cudaError_t status = waitFor([this] { return cudaStreamSynchronize(running()); });
    if (status != cudaSuccess) failure_.note({ErrorCode::DeviceFailed, cudaGetErrorString(status)});
    waiter_.drain();
  }

  void trimMemory() override {
    Device::trimMemory();
    hostPool_->trim();
  }

  /// A step that is being captured mustn't ask.
  size_t queueDepth() override {
    use();
    return recording() ? progress_.known() : progress_.ask(stream_.get());
  }

  void checkHealth() const override {
    const Failure known = failure_.known();
    require(!known, known.code, name(), ": ", known.reason);
  }

  /// Frees a program's memory once its replays have run, without making anyone wait for them.
  void release(std::shared_ptr<Recording> recording) {
    use();
    waiter_.after(running(), [recording = std::move(recording)](const Failure&) {});
  }

  void setProfiling(bool on) override {
    synchronize();
    profiler_.set(on);
  }
  std::map<std::string, ProfileEntry> profile() const override { return profiler_.read(); }

  int64_t physicalCount(const Shape& shape, Format) const override { return shape.count(); }
  /// NHWC; a filter is to its outputs what a batch is to its samples.
  op::Axes axes(const Shape& shape, Format format) const override {
    if (shape.rank() != 4 || format == Format::Plain) return op::rowMajorAxes(shape);
    const int64_t c = shape[1], h = shape[2], w = shape[3];
    return {op::Axis::of(c * h * w), op::Axis::of(1), op::Axis::of(w * c), op::Axis::of(c)};
  }
  DType activationType() const override { return storedType(precision_); }
  Format imageFormat() const override { return Format::Activation; }

  /// May be given back on the waiter's thread, where no memory may go to the system: that would wait for the device.
  std::shared_ptr<void> hostMemory(size_t bytes) override {
    if (bytes > kPooledHostBytes) hostPool_->trim();
    void* data = hostPool_->allocate(bytes);
    if (!data) return Device::hostMemory(bytes);
    return {data, [pool = hostPool_](void* p) { pool->free(p); }};
  }

  void launch(const op::Transfer& o, std::shared_ptr<void> keep) override {
    if (!o.host) return enqueue("transfer", [&] { run(o, context_); });
    const int64_t count = o.format == Format::Filter ? o.filter.count() : o.act.count();
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    const auto staging = allocate(bytes, "values between host and device");
    op::Transfer onDevice = o;
    onDevice.plain = static_cast<float*>(staging->data);
    onDevice.host = false;
    if (o.upload) {
      launchHostCopy({o.plain, staging->data, bytes}, true, std::move(keep));
      enqueue("transfer", [&] { run(onDevice, context_); });
    } else {
      enqueue("transfer", [&] { run(onDevice, context_); });
      launchHostCopy({staging->data, o.plain, bytes}, false, std::move(keep));
    }
  }

  void launchHostCopy(const op::Copy& o, bool upload, std::shared_ptr<void> keep) override {
    if (upload) {
      enqueue("upload",
              [&] { KN_CUDA_CHECK(cudaMemcpyAsync(o.to, o.from, o.bytes, cudaMemcpyHostToDevice, stream_.get())); });
      waiter_.after(stream_.get(), [keep = std::move(keep)](const Failure&) {});
      return;
    }
    // By way of pinned memory: a copy straight into JavaScript's would make the caller wait for it.
    const std::shared_ptr<void> landing = hostMemory(o.bytes);
    enqueue("download", [&] {
      KN_CUDA_CHECK(cudaMemcpyAsync(landing.get(), o.from, o.bytes, cudaMemcpyDeviceToHost, stream_.get()));
    });
    waiter_.after(stream_.get(), [this, landing, o, keep = std::move(keep)](const Failure& failure) {
      failure_.note(failure);
      if (!failure) std::memcpy(o.to, landing.get(), o.bytes);
    });
  }

  /// By way of the host, whose function is a part of the stream, and of a recorded step. All such functions are in one
  /// stream, as the driver may run them one after the other: another order in another process would be a deadlock.
  void launchAllGather(float* rows, int64_t count, std::shared_ptr<Collective> group) override {
    exchangeOnHost("allGather", {{rows, group->size() * count}},
                   [=](float* values) { group->allGather(values, count); });
    enqueueJoin();
  }
  void launchAllReduce(const std::vector<FloatBlock>& blocks, bool mean, std::shared_ptr<Collective> group) override {
    const int64_t count = valuesOf(blocks);
    exchangeOnHost("allReduce", blocks, [=](float* values) { group->allReduce(values, count, mean); });
  }
  void launchForeign(const char* label, const std::function<void(void* stream)>& call) override {
    exchange(label, [&](cudaStream_t stream) { call(stream); });
  }

#define KN_LAUNCH(Op, name) \
  void launch(const op::Op& o) override { enqueueOperation(name, o); }
  KN_OPERATIONS(KN_LAUNCH)
#undef KN_LAUNCH

 protected:
  // Relaxed: the pool may take memory from the system while a step is captured.
  void startRecording() override {
    use();
    poisoned_ = 0;
    const Event before = recordEvent(stream_.get());
    KN_CUDA_CHECK(cudaStreamWaitEvent(outside_.get(), before.get(), 0));
    KN_CUDA_CHECK(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeRelaxed));
  }

  std::unique_ptr<Program> finishRecording(std::shared_ptr<Allocator> pool,
                                           std::set<std::shared_ptr<Storage>> retained) override {
    use();
    branches_.join();
    Graph graph;
    KN_CUDA_CHECK(cudaStreamEndCapture(stream_.get(), graph.out()));
    auto recording = std::make_shared<Recording>();
    if (graph.get()) {
      KN_CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &recording->launches));
      recording->launches -= poisoned_;
      if (!debugGraph_.empty()) {
        KN_CUDA_CHECK(cudaGraphDebugDotPrint(graph.get(), debugGraph_.c_str(), cudaGraphDebugDotFlagsVerbose));
      }
      KN_CUDA_CHECK(cudaGraphInstantiate(recording->graph.out(), graph.get(), 0));
    }
    recording->pool = std::move(pool);
    recording->retained = std::move(retained);
    recording->hostExchanges = std::exchange(hostExchanges_, {});
    return std::make_unique<CudaProgram>(this, std::move(recording));
  }

  void discardRecording() override {
    use();
    hostExchanges_.clear();
    try {
      branches_.join();
    } catch (const Error&) {
      branches_.reset();
    }
    // What went wrong has been thrown already. A stream that stays captured would swallow all that follows.
    for (int attempt = 0; attempt < 2; ++attempt) {
      Graph graph;
      if (succeeded(cudaStreamEndCapture(stream_.get(), graph.out()))) return;
    }
  }

  bool isContended(const void* data, size_t bytes) const override {
    return recording() && branches_.isContended({data, static_cast<int64_t>(bytes), true});
  }

  void enqueueJoin() override {
    guarded("joinExchanges", [&] { order(exchanges_.get(), stream_.get()); });
  }

  void poison(void* data, size_t bytes) override {
    if (!debugPoison_) return;
    use();
    // All bits set are NaN in every type of float, and -1.
    const auto fill = [&](cudaStream_t stream) {
      if (succeeded(cudaMemsetAsync(data, 0xFF, bytes, stream)) && recording()) ++poisoned_;
    };
    if (!recording()) return fill(stream_.get());
    try {
      branches_.poison({data, static_cast<int64_t>(bytes), true}, fill);
    } catch (const Error&) {
      // It may hold what was there before.
    }
  }

  void enqueueReplay(Program& program, int64_t count) override {
    const cudaGraphExec_t graph = static_cast<CudaProgram&>(program).recording->graph.get();
    enqueue("replay", [&] {
      for (int64_t i = 0; i < count; ++i) KN_CUDA_CHECK(cudaGraphLaunch(graph, stream_.get()));
    });
  }

 private:
  static Stream openStream(int index) {
    KN_CUDA_CHECK(cudaSetDevice(index));
    return makeStream();
  }

  /// The stream whose end is the end of all that was enqueued to run. What is enqueued while a step is captured becomes
  /// a part of the step, marks too; they go to a stream beside it.
  cudaStream_t running() const { return recording() ? outside_.get() : stream_.get(); }

  /// The runtime's current device is a property of the calling thread.
  void use() const { succeeded(cudaSetDevice(index_)); }

  /// Whether nothing can run any more. Errors of a call end with it; those of the work that runs stay, and whatever is
  /// called reports them.
  bool ended() const {
    const cudaError_t status = waitFor([this] { return cudaStreamQuery(outside_.get()); });
    return status != cudaSuccess && status != cudaErrorNotReady;
  }

  template <class Launch>
  void enqueue(const char* label, const Launch& launch) {
    guarded(label, [&] {
      branches_.join();
      const Profiler::Span span = profiler_.span(label, stream_.get(), recording());
      launch();
      if (debugSync_ && !recording()) KN_CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    });
  }

  template <class Op>
  void enqueueOperation(const char* label, const Op& o) {
    if constexpr (Branching<Op>) {
      if (recording() && debugBranches_) {
        return guarded(label, [&] {
          const BranchUse use = branchUse(o);
          if (debugPoison_) use.check(label, &o, sizeof o, [this](const void* address) { return holds(address); });
          Context branch = context_;
          branch.stream = branches_.begin(use);
          branch.tickets += kTickets * static_cast<size_t>(use.branch);
          run(o, branch);
        });
      }
    }
    enqueue(label, [&] { run(o, context_); });
  }

  /// `launch` gets the stream of the exchanges, which goes on behind what has been enqueued.
  template <class Launch>
  void exchange(const char* label, const Launch& launch) {
    guarded(label, [&] {
      branches_.join();
      order(stream_.get(), exchanges_.get());
      const Profiler::Span span = profiler_.span(label, exchanges_.get(), recording());
      launch(exchanges_.get());
    });
  }

  void exchangeOnHost(const char* label, const std::vector<FloatBlock>& blocks, HostExchange::Body body) {
    const size_t bytes = static_cast<size_t>(valuesOf(blocks)) * sizeof(float);
    auto host = std::make_shared<HostExchange>(label, passage(bytes), std::move(body), failure_);
    exchange(label, [&](cudaStream_t stream) { host->enqueue(stream, blocks); });
    if (recording()) {
      hostExchanges_.push_back(std::move(host));
    } else {
      waiter_.after(exchanges_.get(), [host = std::move(host)](const Failure&) {});
    }
  }

  /// Memory of the host for one exchange after the other. A recorded step finds what the same step needed before: while
  /// it is captured, none can be taken from the system.
  std::shared_ptr<void> passage(size_t bytes) {
    if (bytes > passageBytes_) {
      passage_ = hostMemory(bytes);
      passageBytes_ = bytes;
    }
    return passage_;
  }

  /// Enqueues, and tells a failure of the call from one of the device.
  template <class Body>
  void guarded(const char* label, const Body& body) {
    checkHealth();
    use();
    try {
      body();
      if (!recording()) progress_.add();
    } catch (const Error& error) {
      cudaGetLastError();  // a library may have left one behind
      if (ended()) failure_.note({ErrorCode::DeviceFailed, std::string(label) + ": " + error.what()});
      throw Error(error.code, name() + ": " + label + ": " + error.what());
    }
  }

  const int index_;
  const Precision precision_;
  const bool debugSync_, debugPoison_, debugBranches_;
  const std::string debugGraph_;  ///< a file for what was recorded; may be empty
  FirstFailure failure_;
  Stream stream_, outside_;
  Stream exchanges_;                                          ///< with other processes, beside the stream
  Branches branches_;                                         ///< of the step that is being recorded
  DeviceBlock tickets_;                                       ///< kTickets for each branch
  std::vector<std::shared_ptr<HostExchange>> hostExchanges_;  ///< of the step that is being recorded
  Progress progress_;
  size_t poisoned_ = 0;  ///< nodes of the step that is being recorded
  std::shared_ptr<Allocator> hostPool_;
  std::shared_ptr<void> passage_;
  size_t passageBytes_ = 0;
  std::unique_ptr<Libraries> libraries_;
  Context context_;
  mutable Profiler profiler_;
  Waiter waiter_;  // last, so that it has served everyone before anything is gone that its callbacks use
};

CudaProgram::CudaProgram(CudaDevice* device, std::shared_ptr<Recording> recording)
    : Program(device), recording(std::move(recording)), owner_(*device) {}

CudaProgram::~CudaProgram() { owner_.release(std::move(recording)); }

std::unique_ptr<Device> open(const CudaOptions& options) {
  checkDriver();
  const int count = deviceCount();
  require(options.index >= 0 && options.index < count, ErrorCode::DeviceUnavailable, deviceName(options.index),
          ": there ", count == 1 ? "is " : "are ", count, count == 1 ? " CUDA device" : " CUDA devices",
          ", numbered from 0");
  return std::make_unique<CudaDevice>(options);
}

std::vector<CudaDeviceInfo> devices() {
  checkDriver();
  std::vector<CudaDeviceInfo> found;
  for (int i = 0; i < deviceCount(); ++i) found.push_back(deviceInfo(i));
  return found;
}

}  // namespace
}  // namespace kn::cuda

extern "C" __attribute__((visibility("default"))) const kn::CudaEntry* kalman_norm_cuda_entry() {
  static const kn::CudaEntry entry{KN_CORE_FINGERPRINT, kn::cuda::devices, kn::cuda::open};
  return &entry;
}
