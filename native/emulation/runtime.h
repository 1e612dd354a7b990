#pragma once
#include <cuda_runtime_api.h>

#include <functional>
#include <string>

#include "errors.h"

/// What the parts of the emulated CUDA runtime share. Its functions have the toolkit's own declarations; what cannot be
/// emulated faithfully gives an error instead of something else, or, as all that waits for the legacy stream, isn't
/// there to be linked with.
///
/// While a stream is captured, it is stricter than CUDA: what the mode "thread-local" forbids, such as memory from the
/// system and the first use of a kernel, is an error in the mode "relaxed" too, unless KN_EMULATION_STRICT is 0. A step
/// that is recorded after it has run once passes; real libraries do much at their first use that no mode allows.
namespace kn::emulation {

struct Launch;

/// Appends to what the stream of the current device has to do, or to the graph that is being captured.
cudaError_t enqueue(cudaStream_t stream, cudaGraphNodeType kind, std::function<void()> work,
                    std::function<std::string()> name = {});
/// A library's call, in place of the kernels that it would launch.
inline cudaError_t enqueue(cudaStream_t stream, const char* name, std::function<void()> work) {
  if (const cudaError_t error = entered("library call")) return error;
  return enqueue(stream, cudaGraphNodeTypeKernel, std::move(work), [name] { return name; });
}
/// An error if a capture forbids calls such as cudaMalloc; the capture is lost then.
cudaError_t unsafeCall();
/// Ends the captures of a device; whether there were any.
bool loseCaptures(int device);
/// Waits for all streams.
void waitForAll();

}  // namespace kn::emulation
