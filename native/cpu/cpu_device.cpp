#include "cpu_device.h"

#include <dnnl.hpp>

#include <omp.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "../core/runtime/collective.h"
#include "conv_cache.h"
#include "kernels.h"
#include "layout.h"
#include "team.h"

namespace kn {
namespace {

constexpr int kMaxThreads = 1024;

/// Memory aligned for vector instructions; large blocks lie on huge pages, which saves misses of the address cache.
class CpuMemory : public MemorySource {
 public:
  void* allocate(size_t bytes) override {
    return bytes < kHugePage ? std::aligned_alloc(kAlignment, roundUp(bytes, kAlignment)) : map(bytes);
  }

  void free(void* data, size_t bytes) override {
    if (bytes < kHugePage) {
      std::free(data);
    } else {
      munmap(data, roundUp(bytes, kPage));
    }
  }

 private:
  static constexpr size_t kAlignment = 64, kHugePage = size_t{2} << 20;
  static constexpr size_t kPage = size_t{64} << 10;  // a multiple of every page size in use

  static size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

  /// Mapped with room for a boundary of a huge page, then cut to size. Not taken from malloc, whose arenas would keep
  /// what is freed.
  static void* map(size_t bytes) {
    if (bytes > SIZE_MAX - 2 * kHugePage) return nullptr;
    const size_t length = roundUp(bytes, kPage), total = length + kHugePage;
    void* mapping = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    char* const begin = static_cast<char*>(mapping);
    const size_t before = roundUp(reinterpret_cast<uintptr_t>(begin), kHugePage) - reinterpret_cast<uintptr_t>(begin);
    if (before > 0) munmap(begin, before);
    if (before < kHugePage) munmap(begin + before + length, kHugePage - before);
    madvise(begin + before, length, MADV_HUGEPAGE);  // a wish: where it isn't granted, small pages serve
    return begin + before;
  }
};

int availableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
  return omp_get_num_procs();
}

/// What this file and the kernels are compiled for; the loader has seen to it that the processor has it.
constexpr const char* kKernels =
#if defined(__AVX2__)
    "AVX2";
#elif defined(__SSE4_1__)
    "SSE4.1";
#else
    "generic instructions";
#endif

/// What oneDNN makes its code of, when it is asked for a primitive.
const char* convolutions() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41: return "SSE4.1";
    case dnnl::cpu_isa::avx: return "AVX";
    case dnnl::cpu_isa::avx2: return "AVX2";
    case dnnl::cpu_isa::avx2_vnni: return "AVX2 with VNNI";
    case dnnl::cpu_isa::avx512_mic:
    case dnnl::cpu_isa::avx512_mic_4ops:
    case dnnl::cpu_isa::avx512_core: return "AVX-512";
    case dnnl::cpu_isa::avx512_core_vnni: return "AVX-512 with VNNI";
    case dnnl::cpu_isa::avx512_core_bf16: return "AVX-512 with BF16";
    case dnnl::cpu_isa::avx512_core_amx: return "AVX-512 with AMX";
    default: return "generic instructions";
  }
}

/// Launches bound to memory. Shared with the replays under way, which may outlive the program.
struct Recording {
  std::vector<Task> tasks;
  std::shared_ptr<Allocator> pool;
  std::set<std::shared_ptr<Storage>> retained;
};

class CpuProgram : public Program {
 public:
  CpuProgram(const Device* device, std::shared_ptr<const Recording> recording)
      : Program(device), recording(std::move(recording)) {}
  size_t launches() const override { return recording->tasks.size(); }
  MemoryStats memory() const override { return recording->pool->stats(); }

  const std::shared_ptr<const Recording> recording;
};

/// Values of several blocks in one exchange: what a collective costs at least, it costs once.
void reduceAll(const std::vector<FloatBlock>& blocks, std::vector<float>& bucket, bool mean, Collective& group) {
  if (blocks.size() == 1) return group.allReduce(blocks[0].data, blocks[0].count, mean);
  float* place = bucket.data();
  for (const auto& [data, count] : blocks) place = std::copy_n(data, count, place);
  group.allReduce(bucket.data(), static_cast<int64_t>(bucket.size()), mean);
  const float* result = bucket.data();
  for (const auto& [data, count] : blocks) {
    std::copy_n(result, count, data);
    result += count;
  }
}

/// Runs on the executor's thread.
void replayTasks(Executor& executor, const Recording& recording, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    for (const Task& task : recording.tasks) {
      if (executor.interrupted()) return;
      try {
        executor.execute(task);
      } catch (const Error& error) {
        throw Error(error.code, std::string(task.name) + ": " + error.what());
      } catch (const std::exception& error) {
        throw Error(ErrorCode::DeviceFailed, std::string(task.name) + ": " + error.what());
      }
    }
  }
}

class CpuDevice : public Device {
 public:
  CpuDevice(int threads, size_t memoryLimit)
      : Device(std::make_shared<CpuMemory>(), memoryLimit),
        threads_(threads),
        // The size of a team is a property of the thread that starts it.
        executor_([threads] {
          omp_set_dynamic(0);
          omp_set_num_threads(threads);
        }) {}

  std::string name() const override { return "cpu"; }
  std::string description() const override {
    const dnnl_version_t* version = dnnl_version();
    std::ostringstream text;
    text << "CPU: " << threads_ << (threads_ == 1 ? " thread on " : " threads on ") << availableCores() << " cores, "
         << kKernels << ", convolutions " << convolutions() << " (oneDNN " << version->major << '.' << version->minor
         << '.' << version->patch << ')';
    return text.str();
  }

  void whenDone(std::function<void(const Failure&)> done) override {
    // Composite, because it isn't work that a profile should show.
    executor_.submitAlways({"whenDone", [this, done = std::move(done)] { done(executor_.failure()); }, true});
  }
  void synchronize() override {
    executor_.wait();
    if (exchanges_) exchanges_->wait();
  }
  void cancel() override {
    executor_.cancel();
    // Who waited for them may have been dropped, and memory that they write to may be given to others.
    if (exchanges_) executor_.submitAlways({"joinExchanges", [this] { exchanges_->wait(); }, true});
  }
  void abandon() override {
    executor_.abandon();
    if (exchanges_) exchanges_->abandon();
  }
  size_t queueDepth() override { return executor_.depth(); }
  void checkHealth() const override {
    const Failure failure = executor_.failure();
    require(!failure, failure.code, name(), ": ", failure.reason);
  }

  void setProfiling(bool on) override {
    profiling_ = on;
    executor_.setProfiling(on);
    if (exchanges_) exchanges_->setProfiling(on);
  }
  std::map<std::string, ProfileEntry> profile() const override {
    auto profile = executor_.profile();
    if (exchanges_) profile.merge(exchanges_->profile());
    return profile;
  }

  /// The layouts have no padding.
  int64_t physicalCount(const Shape& shape, Format) const override { return shape.count(); }
  op::Axes axes(const Shape& shape, Format format) const override { return cpu::axesOf(shape, format); }

  void launch(const op::Transfer& o, std::shared_ptr<void> keep) override {
    add({"transfer", [this, o, keep = std::move(keep)] { cpu::run(o, context_); }});
  }
  void launchHostCopy(const op::Copy& o, bool upload, std::shared_ptr<void> keep) override {
    add({upload ? "upload" : "download", [this, o, keep = std::move(keep)] { cpu::run(o, context_); }});
  }
  void launchAllGather(float* rows, int64_t count, std::shared_ptr<Collective> group) override {
    add({"allGather", [rows, count, group = std::move(group)] { group->allGather(rows, count); }});
  }
  void launchAllReduce(const std::vector<FloatBlock>& blocks, bool mean, std::shared_ptr<Collective> group) override {
    if (!exchanges_) {
      exchanges_ = std::make_unique<Executor>([] {});
      exchanges_->setProfiling(profiling_);
    }
    // Shared, because a task is copyable.
    const auto bucket = std::make_shared<std::vector<float>>(blocks.size() == 1 ? 0 : valuesOf(blocks));
    const Task exchange{"allReduce", [=] { reduceAll(blocks, *bucket, mean, *group); }};
    add({"startAllReduce", [this, exchange] { exchanges_->submit(exchange); }, true});
  }

#define KN_LAUNCH(Op, name) \
  void launch(const op::Op& o) override { enqueue(name, o); }
  KN_OPERATIONS(KN_LAUNCH)
#undef KN_LAUNCH

 protected:
  std::unique_ptr<Program> finishRecording(std::shared_ptr<Allocator> pool,
                                           std::set<std::shared_ptr<Storage>> retained) override {
    std::shared_ptr<const Recording> kept(
        new Recording{std::exchange(recorded_, {}), std::move(pool), std::move(retained)});
    return std::make_unique<CpuProgram>(this, std::move(kept));
  }
  void discardRecording() override { recorded_.clear(); }

  void enqueueJoin() override {
    add({"joinExchanges", [this] {
           exchanges_->wait();
           if (const Failure failure = exchanges_->failure()) throw Error(failure.code, failure.reason);
         }});
  }

  void enqueueReplay(Program& program, int64_t count) override {
    executor_.submit(
        {"replay",
         [this, kept = static_cast<CpuProgram&>(program).recording, count] { replayTasks(executor_, *kept, count); },
         true});
  }

 private:
  void add(Task task) {
    if (recording()) {
      recorded_.push_back(std::move(task));
    } else {
      executor_.submit(std::move(task));
    }
  }

  template <class Op>
  void enqueue(const char* name, const Op& o) {
    if constexpr (requires { Op::cudaOnly; }) {
      require(false, ErrorCode::InvalidArgument, Op::cudaOnly, " needs a CUDA device, got ", this->name());
    } else {
      add({name, [this, o] {
             const cpu::Team team(threads_, cpu::aloneFor(o));
             cpu::run(o, context_);
           }});
    }
  }

  const int threads_;
  cpu::ConvCache convolutions_;
  cpu::Context context_{convolutions_};
  std::vector<Task> recorded_;
  bool profiling_ = false;
  std::unique_ptr<Executor> exchanges_;  ///< since the first; tasks of `executor_` hand them on and wait for them
  Executor executor_;                    // last, so that it drains before anything is gone that its tasks use
};

}  // namespace

std::unique_ptr<Device> createCpuDevice(const CpuOptions& options) {
  require(options.threads >= 0 && options.threads <= kMaxThreads, ErrorCode::InvalidArgument,
          "cpu: threads must be between 0 and ", kMaxThreads, ", got ", options.threads);
  return std::make_unique<CpuDevice>(options.threads ? options.threads : availableCores(), options.memoryLimit);
}

}  // namespace kn
