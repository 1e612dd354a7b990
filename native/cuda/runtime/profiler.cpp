#include "profiler.h"

#include <cmath>

namespace kn::cuda {
namespace {

constexpr unsigned kTimed = cudaEventBlockingSync;
constexpr size_t kMarksKept = 4096;

}  // namespace

Profiler::Span::Span(Profiler* profiler, const char* label, cudaStream_t stream)
    : profiler_(profiler), label_(label), stream_(stream) {
  if (profiler_) begin_ = recordEvent(stream, kTimed);
}

Profiler::Span::~Span() {
  if (!profiler_) return;
  try {
    profiler_->marks_.push_back({label_, std::move(begin_), recordEvent(stream_, kTimed)});
    if (profiler_->marks_.size() >= kMarksKept) profiler_->collect();
  } catch (const Error&) {
    // The launch that failed reports itself; a time that is missing doesn't matter any more.
  }
}

void Profiler::set(bool on) {
  on_ = on;
  marks_.clear();
  entries_.clear();
}

std::map<std::string, ProfileEntry> Profiler::read() {
  collect();
  return entries_;
}

void Profiler::collect() {
  for (const Mark& mark : marks_) {
    float milliseconds = 0;
    KN_CUDA_CHECK(cudaEventSynchronize(mark.end.get()));
    KN_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, mark.begin.get(), mark.end.get()));
    ProfileEntry& entry = entries_[mark.label];
    ++entry.calls;
    entry.nanoseconds += static_cast<uint64_t>(std::lround(milliseconds * 1e6));
  }
  marks_.clear();
}

}  // namespace kn::cuda
