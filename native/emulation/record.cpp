#include "record.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "device_memory.h"
#include "launch.h"

namespace kn::emulation {
namespace {

/// Writes launches-PID.bin: "KNLAUNCH", the version and the first address of the memory, then records. A record is a
/// letter, the length of what follows, and that; all numbers have 64 bits.
///   A  the allocations: offset and size of each
///   M  memory that is not as the last M left it (at first, zero): offset, size and content of each run
///   K  a launch: grid, block, dynamic shared memory; length of the symbol, symbol; for each argument size and bytes
/// A launch is K, with the state before in the M before it and the state after in the M behind it.
class Recorder {
 public:
  /// Null unless launches are to be recorded.
  static Recorder* instance() {
    static Recorder* const recorder = [] {
      const char* folder = std::getenv("KN_EMULATION_RECORD");
      return folder && *folder ? new Recorder(folder) : nullptr;  // never destroyed, as the streams that use it
    }();
    return recorder;
  }

  void record(const Launch& launch, const std::function<void()>& run) {
    writeMemory();
    writeLaunch(launch);
    run();
    writeMemory();
    std::fflush(file_);
  }

  std::mutex mutex;

 private:
  /// Memory is compared and written in pieces of this size.
  static constexpr size_t kPiece = 256;

  explicit Recorder(const char* folder) {
    std::filesystem::create_directories(folder);
    const std::string path = std::string(folder) + "/launches-" + std::to_string(getpid()) + ".bin";
    file_ = std::fopen(path.c_str(), "wb");
    if (!file_) throw std::runtime_error("cannot write " + path);
    std::fwrite("KNLAUNCH", 1, 8, file_);
    putNow(1);
    putNow(reinterpret_cast<uint64_t>(DeviceMemory::instance().base()));
  }

  void putNow(uint64_t number) { std::fwrite(&number, sizeof number, 1, file_); }
  void put(uint64_t number) { put(&number, sizeof number); }
  void put(const void* bytes, size_t size) {
    const auto* begin = static_cast<const char*>(bytes);
    record_.insert(record_.end(), begin, begin + size);
  }
  void finish(char letter) {
    putNow(static_cast<uint64_t>(letter));
    putNow(record_.size());
    std::fwrite(record_.data(), 1, record_.size(), file_);
    record_.clear();
  }

  void writeMemory() {
    const uint64_t before = generation_;
    const auto blocks = DeviceMemory::instance().blocks(generation_);
    if (generation_ != before) {
      for (const DeviceMemory::Block& block : blocks) {
        put(block.offset);
        put(block.bytes);
        known_.resize(std::max(known_.size(), block.offset + block.bytes));
      }
      finish('A');
    }
    for (const DeviceMemory::Block& block : blocks) writeChanges(block);
    finish('M');
  }

  void writeChanges(const DeviceMemory::Block& block) {
    const char* memory = DeviceMemory::instance().base() + block.offset;
    char* known = known_.data() + block.offset;
    const auto changed = [&](size_t at) {
      return std::memcmp(memory + at, known + at, std::min(kPiece, block.bytes - at)) != 0;
    };
    for (size_t begin = 0, end = 0; begin < block.bytes; begin = end += kPiece) {
      while (end < block.bytes && changed(end)) end += kPiece;
      if (end > begin) writeRun(block.offset, memory, known, begin, std::min(end, block.bytes));
    }
  }

  void writeRun(size_t offset, const char* memory, char* known, size_t begin, size_t end) {
    put(offset + begin);
    put(end - begin);
    put(memory + begin, end - begin);
    std::memcpy(known + begin, memory + begin, end - begin);
  }

  void writeLaunch(const Launch& launch) {
    for (const dim3& shape : {launch.grid, launch.block}) {
      put(shape.x);
      put(shape.y);
      put(shape.z);
    }
    put(launch.shared);
    const std::string symbol = launch.symbol();
    put(symbol.size());
    put(symbol.data(), symbol.size());
    for (const auto argument : launch.arguments()) {
      put(argument.size());
      put(argument.data(), argument.size());
    }
    finish('K');
  }

  std::FILE* file_ = nullptr;
  uint64_t generation_ = 0;
  std::vector<char> known_;  ///< what a reader of the file knows of the memory
  std::vector<char> record_;
};

}  // namespace

void recordLaunch(const Launch& launch, const std::function<void()>& run) {
  if (Recorder* recorder = Recorder::instance())
    recorder->record(launch, run);
  else
    run();
}

void exclusively(const std::function<void()>& work) {
  Recorder* recorder = Recorder::instance();
  if (!recorder) return work();
  std::lock_guard lock(recorder->mutex);
  work();
}

}  // namespace kn::emulation
