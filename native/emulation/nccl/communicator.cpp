#include "communicator.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace kn::emulation::nccl {

constexpr int kMostRanks = 16;
/// Of each process's values at a time.
constexpr size_t kChunkBytes = size_t{64} << 10;

/// What the processes share.
struct Board {
  struct Seat {
    std::atomic<uint64_t> meetings;
    Collective collective;
    alignas(64) char values[kChunkBytes];
  };
  Seat seats[kMostRanks];
};

namespace {

std::mutex errorMutex;
std::string lastErrorText;

/// KN_EMULATION_NCCL_FAIL=RANK:CALL:error or :hang lets that process's call fail behind its caller's back, or never
/// begin.
struct Sabotage {
  int rank = -1;
  int64_t call = 0;
  bool hang = false;

  Sabotage() {
    const char* text = std::getenv("KN_EMULATION_NCCL_FAIL");
    char how[8] = "";
    long long number = 0;
    if (!text || std::sscanf(text, "%d:%lld:%7s", &rank, &number, how) != 3) return;
    call = number;
    hang = std::strcmp(how, "hang") == 0;
  }
};

void pauseAwhile() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

}  // namespace

std::string lastError() {
  std::lock_guard lock(errorMutex);
  return lastErrorText;
}
void noteError(const std::string& text) {
  std::lock_guard lock(errorMutex);
  lastErrorText = text;
}

std::string Collective::text() const {
  const std::string what = std::to_string(count) + (type == kn::nccl::Float32 ? " float32" : " uint8");
  switch (kind) {
    case Kind::AllReduce: return std::string("all-reduce (") + (detail == 0 ? "sum" : "mean") + ") of " + what;
    case Kind::Broadcast: return "broadcast of " + what + " from " + std::to_string(detail);
    default: return "all-gather of " + what;
  }
}

std::string Communicator::makeFile() {
  char name[] = "/dev/shm/kalman-norm-nccl-XXXXXX";
  const int file = mkstemp(name);
  if (file < 0 || ftruncate(file, sizeof(Board)) != 0) throw std::runtime_error("no file in /dev/shm");
  close(file);
  return name;
}

Communicator::Communicator(const std::string& file, int size, int rank, int device)
    : size(size), rank(rank), device(device) {
  const int opened = size <= kMostRanks ? open(file.c_str(), O_RDWR) : -1;
  if (opened < 0) throw std::runtime_error("the unique id is nobody's, or of a group that has met already");
  void* mapped = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
  close(opened);
  if (mapped == MAP_FAILED) throw std::runtime_error("no memory to share");
  board_ = static_cast<Board*>(mapped);
  joining_ = std::thread([this, file] {
    // Gone when all have come, so that no crash leaves it behind.
    if (meet() && this->rank == 0) unlink(file.c_str());
    joined_ = true;
  });
}

Communicator::~Communicator() {
  aborted_ = true;
  joining_.join();
  munmap(board_, sizeof(Board));
}

Result Communicator::state() {
  if (failure_ != kn::nccl::Success) return failure_;
  const bool busy = !joined_ || std::chrono::steady_clock::now() < busyUntil_;
  return busy ? kn::nccl::InProgress : kn::nccl::Success;
}

bool Communicator::delay() {
  if (used_) return false;
  used_ = true;
  busyUntil_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
  return true;
}

void Communicator::run(const Collective& collective, const void* from, void* to) {
  sabotage();
  if (aborted_ || failure_ != kn::nccl::Success) return;
  board_->seats[rank].collective = collective;
  if (!meet()) return;
  for (int other = 1; other < size; ++other) {
    const Collective& first = board_->seats[0].collective;
    const Collective& theirs = board_->seats[other].collective;
    if (theirs == first) continue;
    fail(kn::nccl::InvalidUsage, "rank 0 runs an " + first.text() + ", rank " + std::to_string(other) + " an " +
                                     theirs.text() + ", as collective " + std::to_string(calls_));
    return;
  }
  const size_t bytes = collective.count * elementBytes(collective.type);
  for (size_t done = 0; done < bytes; done += kChunkBytes) {
    if (aborted_) return;
    chunk(collective, done, std::min(kChunkBytes, bytes - done), static_cast<const char*>(from),
          static_cast<char*>(to));
  }
}

/// Between the two meetings everybody reads, and nobody writes to, what is shared.
void Communicator::chunk(const Collective& collective, size_t from, size_t bytes, const char* send, char* receive) {
  std::memcpy(board_->seats[rank].values, send + from, bytes);
  if (!meet()) return;
  const auto valuesOf = [&](int other) { return board_->seats[other].values; };
  if (collective.kind == Kind::AllReduce) {
    float* sum = reinterpret_cast<float*>(receive + from);
    const size_t count = bytes / sizeof(float);
    for (size_t i = 0; i < count; ++i) {
      float total = 0;
      for (int other = 0; other < size; ++other) total += reinterpret_cast<const float*>(valuesOf(other))[i];
      sum[i] = collective.detail == kn::nccl::Average ? total / static_cast<float>(size) : total;
    }
  } else if (collective.kind == Kind::Broadcast) {
    std::memcpy(receive + from, valuesOf(collective.detail), bytes);
  } else {
    const size_t whole = collective.count * elementBytes(collective.type);
    for (int other = 0; other < size; ++other) {
      std::memcpy(receive + static_cast<size_t>(other) * whole + from, valuesOf(other), bytes);
    }
  }
  meet();
}

/// Waits until all have come as often as this one; false where it was aborted before.
bool Communicator::meet() {
  const uint64_t times = ++board_->seats[rank].meetings;
  for (int other = 0; other < size; ++other) {
    while (board_->seats[other].meetings < times) {
      if (aborted_) return false;
      pauseAwhile();
    }
  }
  return true;
}

void Communicator::fail(Result result, const std::string& reason) {
  noteError(reason);
  failure_ = result;
}

void Communicator::sabotage() {
  static const Sabotage plan;
  if (++calls_ != plan.call || rank != plan.rank) return;
  if (!plan.hang) fail(kn::nccl::SystemError, "a failure on purpose");
  while (plan.hang && !aborted_) pauseAwhile();
}

}  // namespace kn::emulation::nccl
