#pragma once
#include <cuda_runtime_api.h>

#include <functional>

/// What the parts of the emulated CUDA runtime share. Its functions have the toolkit's own declarations; what cannot be
/// emulated faithfully gives an error instead of something else.
namespace kn::emulation {

struct Launch;

/// Notes an error for cudaGetLastError and returns it.
cudaError_t failed(cudaError_t error);
/// The error that has ended the device's life, or cudaSuccess. As with a real one, nothing works afterwards.
cudaError_t deviceError();
/// Why no call is possible now, or cudaSuccess.
cudaError_t entered();
/// Counts a kernel; false, and the end of the device, at the one that KN_EMULATION_FAIL_LAUNCH chooses.
bool countLaunch();

/// Appends to what the stream has to do, or to the graph that is being captured.
cudaError_t enqueue(cudaStream_t stream, cudaGraphNodeType kind, std::function<void()> work);
/// The same for work that is no kernel and stands for a library's.
inline cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  return enqueue(stream, cudaGraphNodeTypeKernel, std::move(work));
}
/// An error if a capture forbids calls such as cudaMalloc; the capture is lost then.
cudaError_t unsafeCall();
/// Waits for all streams.
void waitForAll();
/// True on a thread that is running a host function, which may not call the runtime.
bool insideHostFunction();

}  // namespace kn::emulation
