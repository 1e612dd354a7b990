#pragma once
#include <cuda_runtime_api.h>

#include <functional>

#include "errors.h"

/// What the parts of the emulated CUDA runtime share. Its functions have the toolkit's own declarations; what cannot be
/// emulated faithfully gives an error instead of something else.
namespace kn::emulation {

struct Launch;

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

}  // namespace kn::emulation
