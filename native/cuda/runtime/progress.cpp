#include "progress.h"

namespace kn::cuda {

size_t Progress::ask(cudaStream_t stream) {
  if (succeeded(cudaStreamQuery(stream))) {
    marks_.clear();
    ended_ = enqueued_;
  } else if (marks_.empty() || marks_.back().enqueued < enqueued_) {
    try {
      marks_.push_back({enqueued_, recordEvent(stream)});
    } catch (const Error&) {
      // Without a mark the answer is a later one's.
    }
  }
  for (; !marks_.empty() && succeeded(cudaEventQuery(marks_.front().event.get())); marks_.pop_front()) {
    ended_ = marks_.front().enqueued;
  }
  return known();
}

}  // namespace kn::cuda
