#include "errors.h"

#include <atomic>
#include <cstdint>

#include "workers.h"

namespace kn::emulation {
namespace {

thread_local bool runsHostFunction = false;
thread_local cudaError_t lastError = cudaSuccess;
std::atomic<cudaError_t> endOfDevice{cudaSuccess};
std::atomic<int64_t> launches{0};

struct ErrorText {
  cudaError_t code;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event of a capture"},
};

}  // namespace

HostFunction::HostFunction() { runsHostFunction = true; }
HostFunction::~HostFunction() { runsHostFunction = false; }

bool insideHostFunction() { return runsHostFunction; }

cudaError_t failed(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) lastError = error;
  return error;
}

cudaError_t deviceError() { return endOfDevice.load(); }

cudaError_t entered() {
  if (insideHostFunction()) return failed(cudaErrorNotPermitted);
  return failed(deviceError());
}

bool countLaunch() {
  static const int64_t chosen = setting("KN_EMULATION_FAIL_LAUNCH", 0);
  if (deviceError() != cudaSuccess) return false;
  if (launches.fetch_add(1) + 1 != chosen) return true;
  endOfDevice = cudaErrorLaunchFailure;
  return false;
}

}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  lastError = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return deviceError() != cudaSuccess ? deviceError() : lastError; }

const char* cudaGetErrorName(cudaError_t error) {
  for (const ErrorText& entry : kErrors)
    if (entry.code == error) return entry.name;
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  for (const ErrorText& entry : kErrors)
    if (entry.code == error) return entry.text;
  return "unrecognized error code";
}
