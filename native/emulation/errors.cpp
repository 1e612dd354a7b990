#include "errors.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "failures.h"
#include "workers.h"

namespace kn::emulation {
namespace {

thread_local bool runsHostFunction = false;
thread_local cudaError_t lastError = cudaSuccess;
thread_local int device = 0;
std::atomic<cudaError_t> endOfDevice[kMostDevices];
std::atomic<int64_t> launches{0};

std::atomic<int64_t> calls{0}, failingCall{0};
std::atomic<Failing> failing{Failing::Once};
std::atomic<const char*> failedFunction{nullptr};

/// KN_EMULATION_FAIL_CALL=FUNCTION:N fails a function's N-th call, KN_EMULATION_FAIL_CALL=N any function's.
struct ChosenCall {
  std::string function;
  int64_t call = 0;
  std::atomic<int64_t> seen{0};

  ChosenCall() {
    const char* text = std::getenv("KN_EMULATION_FAIL_CALL");
    if (!text) return;
    const char* colon = std::strchr(text, ':');
    if (colon) function.assign(text, colon);
    call = std::strtoll(colon ? colon + 1 : text, nullptr, 10);
  }
  bool matches(const char* name) { return call > 0 && (function.empty() || function == name) && ++seen == call; }
};

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
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate captures"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event of a capture"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

/// What a call of the function most likely fails with where its arguments are right.
cudaError_t usualError(std::string_view function) {
  for (const char* taking : {"Malloc", "Create", "Instantiate", "BeginCapture"})
    if (function.find(taking) != std::string_view::npos) return cudaErrorMemoryAllocation;
  return function == "kernel launch" ? cudaErrorLaunchOutOfResources : cudaErrorUnknown;
}

/// The error with which this call fails on purpose, or cudaSuccess.
cudaError_t chosenFailure(const char* function) {
  static ChosenCall& chosen = *new ChosenCall;
  if (++calls != failingCall.load() && !chosen.matches(function)) return cudaSuccess;
  failedFunction = function;
  if (failing == Failing::Once) return usualError(function);
  endOfDevice[device] = cudaErrorIllegalAddress;
  return cudaErrorIllegalAddress;
}

}  // namespace

void failCall(int64_t call, Failing how) {
  for (auto& end : endOfDevice) end = cudaSuccess;
  lastError = cudaSuccess;
  failedFunction = nullptr;
  failing = how;
  calls = 0;
  failingCall = call;
}

int64_t callCount() { return calls; }
const char* failedCall() { return failedFunction; }

HostFunction::HostFunction() { runsHostFunction = true; }
HostFunction::~HostFunction() { runsHostFunction = false; }

bool insideHostFunction() { return runsHostFunction; }

int deviceTotal() {
  static const int64_t total = setting("KN_EMULATION_DEVICES", 2);
  return static_cast<int>(std::clamp<int64_t>(total, 1, kMostDevices));
}

int currentDevice() { return device; }

cudaError_t failed(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) lastError = error;
  return error;
}

cudaError_t deviceError(int device) { return endOfDevice[device].load(); }

cudaError_t entered(const char* function) {
  if (insideHostFunction()) return failed(cudaErrorNotPermitted);
  if (const cudaError_t error = chosenFailure(function)) return failed(error);
  return failed(deviceError());
}

cudaError_t left(const char* function) { return entered(function); }

bool countLaunch(int device) {
  static const int64_t chosen = setting("KN_EMULATION_FAIL_LAUNCH", 0);
  if (deviceError(device) != cudaSuccess) return false;
  if (launches.fetch_add(1) + 1 != chosen) return true;
  endOfDevice[device] = cudaErrorLaunchFailure;
  return false;
}

}  // namespace kn::emulation

using namespace kn::emulation;

cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= deviceTotal()) return failed(cudaErrorInvalidDevice);
  device = index;
  return entered();
}

cudaError_t cudaGetDevice(int* index) {
  *index = device;
  return cudaSuccess;
}

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
