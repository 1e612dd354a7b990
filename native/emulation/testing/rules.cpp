/// The emulated runtime against CUDA's rules. What waits for the legacy stream (cudaMemcpy and its like) isn't emulated
/// at all: code that called it would not link.

#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include "../../cuda/runtime/handles.h"
#include "../kernel_language.h"
#include "checks.h"
#include "network.h"

namespace kn::testing {
namespace {

using cuda::makeStream;
using cuda::recordEvent;

__global__ void increment(int* data) { ++*data; }
__global__ void firstUse(int* data) { --*data; }
/// Two numbers that lie side by side, as an address would.
struct Sizes {
  int32_t count, step;
};
__global__ void incrementAll(int* data, Sizes sizes) {
  for (int i = 0; i < sizes.count; ++i) ++data[i * sizes.step];
}
__global__ void note(int* order, int* count, int value) { order[(*count)++] = value; }

template <class... P, class... A>
void launchOne(cudaStream_t stream, void (*kernel)(P...), A... arguments) {
  cuda::launch(kernel, dim3(1), dim3(1), 0, stream, arguments...);
}

int* allocate(size_t count) {
  void* data = nullptr;
  KN_CUDA_CHECK(cudaMalloc(&data, count * sizeof(int)));
  return static_cast<int*>(data);
}

/// The error of a call that throws.
template <class Call>
cudaError_t thrown(const Call& call) {
  try {
    call();
    return cudaSuccess;
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const auto status : {cudaErrorInvalidValue, cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureImplicit,
                              cudaErrorInvalidResourceHandle, cudaErrorInvalidConfiguration}) {
      if (text.find(cudaGetErrorName(status)) != std::string::npos) return status;
    }
    return cudaErrorUnknown;
  }
}

void expect(cudaError_t found, cudaError_t expected, const std::string& what) {
  cudaGetLastError();
  if (found == expected) return;
  check(false, (what + ": expected " + cudaGetErrorName(expected) + ", got " + cudaGetErrorName(found)).c_str());
}

struct Forbidden {
  const char* what;
  cudaError_t error;
  std::function<cudaError_t()> call;
};

/// Each is refused, and ends the capture; afterwards the next one can begin.
void checkCapture() {
  const auto stream = makeStream(), other = makeStream();
  const cudaStream_t s = stream.get();
  int* const data = allocate(1);
  void* pinned = nullptr;
  KN_CUDA_CHECK(cudaMallocHost(&pinned, 16));
  KN_CUDA_CHECK(cudaMemsetAsync(data, 0, sizeof(int), other.get()));
  launchOne(other.get(), increment, data);
  const auto outside = recordEvent(other.get());
  KN_CUDA_CHECK(cudaEventSynchronize(outside.get()));
  void* fresh = nullptr;
  const auto unsupported = cudaErrorStreamCaptureUnsupported, implicit = cudaErrorStreamCaptureImplicit;
  const std::vector<Forbidden> calls = {
      {"cudaMalloc", unsupported, [&] { return cudaMalloc(&fresh, 16); }},
      {"cudaFree", unsupported, [&] { return cudaFree(data); }},
      {"cudaMallocHost", unsupported, [&] { return cudaMallocHost(&fresh, 16); }},
      {"cudaFreeHost", unsupported, [&] { return cudaFreeHost(pinned); }},
      {"cudaStreamSynchronize", unsupported, [&] { return cudaStreamSynchronize(s); }},
      {"cudaStreamQuery", unsupported, [&] { return cudaStreamQuery(s); }},
      {"cudaDeviceSynchronize", unsupported, [] { return cudaDeviceSynchronize(); }},
      {"cudaEventSynchronize", unsupported, [&] { return cudaEventSynchronize(outside.get()); }},
      {"cudaEventQuery", unsupported, [&] { return cudaEventQuery(outside.get()); }},
      {"a kernel's first use", unsupported, [&] { return thrown([&] { launchOne(s, firstUse, data); }); }},
      {"a kernel in the legacy stream", implicit, [&] { return thrown([&] { launchOne(nullptr, increment, data); }); }},
      {"a copy in the legacy stream", implicit, [&] { return cudaMemsetAsync(data, 0, sizeof(int), nullptr); }},
      {"a mark in the legacy stream", implicit, [&] { return cudaEventRecord(outside.get(), nullptr); }},
      {"the legacy stream's end", implicit, [] { return cudaStreamSynchronize(nullptr); }},
      {"an event outside", cudaErrorStreamCaptureIsolation, [&] { return cudaStreamWaitEvent(s, outside.get(), 0); }},
      {"a captured event's end", cudaErrorCapturedEvent,
       [&] {
         const auto inside = recordEvent(s);
         return cudaEventSynchronize(inside.get());
       }},
  };
  for (const auto mode :
       {cudaStreamCaptureModeRelaxed, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeGlobal}) {
    for (const Forbidden& forbidden : calls) {
      cudaGraph_t graph = nullptr;
      KN_CUDA_CHECK(cudaStreamBeginCapture(s, mode));
      launchOne(s, increment, data);
      expect(forbidden.call(), forbidden.error, forbidden.what);
      expect(thrown([&] { launchOne(s, increment, data); }), cudaErrorUnknown, "a capture that is lost goes on");
      expect(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated, forbidden.what);
    }
  }
  // In the mode "global" other threads are bound too, in the others they aren't.
  const auto fromOther = [&](cudaStreamCaptureMode mode) {
    cudaGraph_t graph = nullptr;
    cudaError_t error = cudaSuccess;
    KN_CUDA_CHECK(cudaStreamBeginCapture(s, mode));
    std::thread([&] { error = cudaEventQuery(outside.get()); }).join();
    cudaStreamEndCapture(s, &graph);
    if (graph) KN_CUDA_CHECK(cudaGraphDestroy(graph));
    return error;
  };
  expect(fromOther(cudaStreamCaptureModeGlobal), unsupported, "another thread, global");
  expect(fromOther(cudaStreamCaptureModeRelaxed), cudaSuccess, "another thread, relaxed");
  KN_CUDA_CHECK(cudaFree(data));
  KN_CUDA_CHECK(cudaFreeHost(pinned));
}

/// Work that goes to a second stream and comes back, or doesn't.
void checkBranches() {
  const auto stream = makeStream(), branch = makeStream();
  int* const data = allocate(64);
  int* const count = data + 32;
  KN_CUDA_CHECK(cudaMemsetAsync(count, 0, sizeof(int), stream.get()));
  launchOne(stream.get(), note, data, count, 0);
  KN_CUDA_CHECK(cudaStreamSynchronize(stream.get()));

  const auto capture = [&](bool join) {
    cuda::Graph graph;
    KN_CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed));
    KN_CUDA_CHECK(cudaMemsetAsync(count, 0, sizeof(int), stream.get()));
    launchOne(stream.get(), note, data, count, 1);
    const auto fork = recordEvent(stream.get());
    KN_CUDA_CHECK(cudaStreamWaitEvent(branch.get(), fork.get(), 0));
    launchOne(branch.get(), note, data, count, 2);
    launchOne(stream.get(), note, data, count, 3);
    launchOne(stream.get(), note, data, count, 4);
    const auto back = recordEvent(branch.get());
    if (join) KN_CUDA_CHECK(cudaStreamWaitEvent(stream.get(), back.get(), 0));
    launchOne(stream.get(), note, data, count, 5);
    expect(cudaStreamEndCapture(branch.get(), graph.out()), cudaErrorStreamCaptureUnmatched, "the end of a branch");
    const cudaError_t status = cudaStreamEndCapture(stream.get(), graph.out());
    expect(status, join ? cudaSuccess : cudaErrorStreamCaptureUnjoined, "the end of the capture");
    return graph;
  };
  capture(false);
  const cuda::Graph graph = capture(true);
  cuda::GraphExec executable;
  KN_CUDA_CHECK(cudaGraphInstantiate(executable.out(), graph.get(), 0));
  std::set<std::vector<int>> orders;
  for (int i = 0; i < 40; ++i) {
    std::vector<int> order(5);
    KN_CUDA_CHECK(cudaGraphLaunch(executable.get(), stream.get()));
    KN_CUDA_CHECK(cudaMemcpyAsync(order.data(), data, 5 * sizeof(int), cudaMemcpyDeviceToHost, stream.get()));
    KN_CUDA_CHECK(cudaStreamSynchronize(stream.get()));
    orders.insert(order);
  }
  check(orders == std::set<std::vector<int>>{{1, 2, 3, 4, 5}, {1, 3, 2, 4, 5}, {1, 3, 4, 2, 5}},
        "the branches of a graph don't run in all orders that they may run in");
  KN_CUDA_CHECK(cudaFree(data));
}

/// Pointers that a GPU can't use, and handles of another device.
void checkPointers() {
  const auto stream = makeStream();
  int onHost = 0;
  int* const data = allocate(16);
  const auto incremented = [&](int* at) { return thrown([&] { launchOne(stream.get(), increment, at); }); };
  const auto copied = [&](void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, stream.get());
  };
  expect(incremented(&onHost), cudaErrorInvalidValue, "a kernel gets the host's memory");
  expect(copied(data, &onHost, 4, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue,
         "the host's memory as the device's");
  expect(copied(&onHost, data, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "the wrong direction");
  expect(copied(data, data, 17 * 4, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue, "beyond an allocation");
  expect(incremented(data), cudaSuccess, "a kernel gets the device's memory");
  // Something may be mapped where they point to; under a sanitizer it is already.
  const Sizes sizes{2, 5};
  uintptr_t address = 0;
  std::memcpy(&address, &sizes, sizeof address);
  constexpr uintptr_t page = 4096;
  void* const mapped = mmap(reinterpret_cast<void*>(address / page * page), page, PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  expect(thrown([&] { launchOne(stream.get(), incrementAll, data, sizes); }), cudaSuccess, "a kernel gets two numbers");
  if (mapped != MAP_FAILED) munmap(mapped, page);

  KN_CUDA_CHECK(cudaSetDevice(1));
  int* const elsewhere = allocate(1);
  expect(incremented(elsewhere), cudaErrorInvalidResourceHandle, "a stream of another device");
  KN_CUDA_CHECK(cudaSetDevice(0));
  expect(incremented(elsewhere), cudaErrorInvalidValue, "a kernel gets another device's memory");
  KN_CUDA_CHECK(cudaFree(elsewhere));
  KN_CUDA_CHECK(cudaFree(data));
  expect(incremented(data), cudaErrorInvalidValue, "a kernel gets memory that has been freed");
}

/// Memory is NaN whenever it is handed out, from the system and from the pool.
void checkPoison() {
  const auto device = open(Precision::Float32);
  const auto handedOut = [&] { return download({device->empty({1000}, DType::F32, Format::Plain)})[0]; };
  full(*device, {1000}, DType::F32, Format::Plain, 1);
  const std::vector<float> reused = handedOut();
  check(std::isnan(reused.front()) && std::isnan(reused.back()), "memory of the pool still has its old values");
}

/// Two devices, in turns on one thread, don't get into each other's way; nor does the end of one.
void checkDevices() {
  const std::unique_ptr<Device> devices[2] = {open(Precision::Float32, 0, 0), open(Precision::Float32, 0, 1)};
  check(devices[0]->name() == "cuda-emulated" && devices[1]->name() == "cuda-emulated:1", "names of devices");
  Network first(*devices[0]), second(*devices[1]);
  first.reset();
  second.reset();
  for (int64_t i = 0; i < kSteps; ++i) {
    first.step();
    second.step();
  }
  check(first.state() == second.state(), "devices that take turns differ");
  bool refused = false;
  try {
    binary(first.history(), second.history(), BinaryKind::Multiply);
  } catch (const Error& error) {
    refused = error.code == ErrorCode::DeviceMismatch;
  }
  check(refused, "an operation takes tensors of two devices");
}

/// A step that is recorded after it has run once calls for nothing that a capture forbids, and takes no memory.
void checkRecording() {
  for (const Precision precision : {Precision::Float32, Precision::Float16, Precision::BFloat16}) {
    const auto device = open(precision);
    Network network(*device);
    network.reset();
    network.step();
    const size_t before = device->memoryStats().reserved;
    const auto program = recorded(*device, network);
    check(device->memoryStats().reserved + program->memory().reserved == before, "a recording takes memory");
  }
}

}  // namespace

void checkRules() {
  checkCapture();
  checkBranches();
  checkPointers();
  checkPoison();
  checkDevices();
  checkRecording();
}

}  // namespace kn::testing
