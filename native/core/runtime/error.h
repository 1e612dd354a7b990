#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace kn {

/// The codes of lib/errors.ts that can arise below JavaScript.
enum class ErrorCode {
  InvalidArgument,
  ShapeMismatch,
  DTypeMismatch,
  DeviceMismatch,
  Disposed,
  InvalidState,
  OutOfMemory,
  DeviceUnavailable,
  DeviceFailed,
  Cancelled,
  GroupFailed,
};

/// The name of a code as JavaScript knows it, such as "SHAPE_MISMATCH".
constexpr const char* codeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument: return "INVALID_ARGUMENT";
    case ErrorCode::ShapeMismatch: return "SHAPE_MISMATCH";
    case ErrorCode::DTypeMismatch: return "DTYPE_MISMATCH";
    case ErrorCode::DeviceMismatch: return "DEVICE_MISMATCH";
    case ErrorCode::Disposed: return "DISPOSED";
    case ErrorCode::InvalidState: return "INVALID_STATE";
    case ErrorCode::OutOfMemory: return "OUT_OF_MEMORY";
    case ErrorCode::DeviceUnavailable: return "DEVICE_UNAVAILABLE";
    case ErrorCode::DeviceFailed: return "DEVICE_FAILED";
    case ErrorCode::Cancelled: return "CANCELLED";
    case ErrorCode::GroupFailed: return "GROUP_FAILED";
  }
  return "DEVICE_FAILED";
}

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code(code) {}
  const ErrorCode code;
};

/// Why a device runs nothing any more; false where it still does.
struct Failure {
  /// DeviceFailed, or GroupFailed where it waited for other processes in vain.
  ErrorCode code = ErrorCode::DeviceFailed;
  std::string reason;

  explicit operator bool() const { return !reason.empty(); }
};

/// Throws an Error whose message is the concatenation of `parts`, unless `condition` holds.
template <class... Parts>
void require(bool condition, ErrorCode code, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

}  // namespace kn
