#pragma once
#include <cstdint>

/// Calls of the runtime that fail on purpose.
namespace kn::emulation {

enum class Failing {
  Once,     ///< the call, with the error that is usual for its function
  ForGood,  ///< it finds the device ended by an illegal access
};

/// Fails the `call`-th call from now on, counted from 1; 0 for none. Ended devices live again, which no real ones do.
void failCall(int64_t call, Failing how);
/// Calls since then, of all threads.
int64_t callCount();
/// The function that has failed on purpose, or null.
const char* failedCall();

/// What the runtime has handed out and not got back.
struct LiveObjects {
  int64_t streams, events, graphs, executables, deviceBlocks, hostBlocks;
  bool operator==(const LiveObjects&) const = default;
};
LiveObjects liveObjects();

}  // namespace kn::emulation
