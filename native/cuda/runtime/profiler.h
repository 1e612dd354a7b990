#pragma once
#include <map>
#include <string>
#include <vector>

#include "../../core/runtime/executor.h"
#include "handles.h"

namespace kn::cuda {

/// Times launches by marks in the stream around them.
class Profiler {
 public:
  /// Marks the end when it is left.
  class Span {
   public:
    Span(Profiler* profiler, const char* label, cudaStream_t stream);
    Span(const Span&) = delete;
    ~Span();

   private:
    Profiler* const profiler_;  ///< null where nothing is timed
    const char* const label_;
    const cudaStream_t stream_;
    Event begin_;
  };

  /// Starts anew, or stops.
  void set(bool on);
  Span span(const char* label, cudaStream_t stream, bool recording) {
    return {on_ && !recording ? this : nullptr, label, stream};
  }
  /// Waits for the launches timed so far.
  std::map<std::string, ProfileEntry> read();

 private:
  struct Mark {
    const char* label;
    Event begin, end;
  };
  void collect();

  bool on_ = false;
  std::vector<Mark> marks_;
  std::map<std::string, ProfileEntry> entries_;
};

}  // namespace kn::cuda
