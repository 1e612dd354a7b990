#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "../../distributed/nccl/api.h"

/// The communicators of the played NCCL: processes meet in a file that all of them map.
namespace kn::emulation::nccl {

using kn::nccl::Reduction;
using kn::nccl::Result;
using kn::nccl::Type;

enum class Kind : int { AllReduce, Broadcast, AllGather };

/// A collective, as every process has to call it.
struct Collective {
  Kind kind;
  Type type;
  int detail;  ///< reduction or root
  size_t count;
  bool operator==(const Collective&) const = default;
  std::string text() const;
};

struct Board;

/// One process's end. Its collectives run on the emulated stream, and as real ones wait there for the others until it
/// is aborted; where those run another one, all report it.
class Communicator {
 public:
  /// The file of a new group, for `ncclGetUniqueId`.
  static std::string makeFile();

  Communicator(const std::string& file, int size, int rank, int device);
  ~Communicator();
  Communicator(const Communicator&) = delete;

  const int size, rank, device;

  /// InProgress until all have come, and for a while after the first call.
  Result state();
  /// Whether the first call's end comes later, as a real one's, which connects first.
  bool delay();
  /// Whether the calls up to this one are all in this stream, which gives them their order.
  bool keepsTo(const void* stream) { return stream_ == stream || !std::exchange(stream_, stream); }
  void run(const Collective& collective, const void* from, void* to);
  void abort() { aborted_ = true; }

 private:
  bool meet();
  void chunk(const Collective& collective, size_t from, size_t bytes, const char* send, char* receive);
  void fail(Result result, const std::string& reason);
  void sabotage();

  Board* board_ = nullptr;
  std::atomic<bool> aborted_{false};
  std::atomic<Result> failure_{kn::nccl::Success};
  std::atomic<bool> joined_{false};
  bool used_ = false;
  const void* stream_ = nullptr;
  std::chrono::steady_clock::time_point busyUntil_{};
  int64_t calls_ = 0;
  std::thread joining_;
};

/// What ncclGetLastError says.
std::string lastError();
void noteError(const std::string& text);

constexpr size_t elementBytes(Type type) { return type == kn::nccl::Float32 ? 4 : 1; }

}  // namespace kn::emulation::nccl
