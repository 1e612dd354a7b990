#pragma once
#include <deque>

#include "handles.h"

namespace kn::cuda {

/// How many of a stream's launches have not ended, as far as is known. The stream isn't asked launch by launch: marks,
/// set when somebody wants to know, tell how far it has come.
class Progress {
 public:
  void add() { ++enqueued_; }
  /// As it was known before.
  size_t known() const { return enqueued_ - ended_; }
  /// Asks the stream, which mustn't be captured.
  size_t ask(cudaStream_t stream);

 private:
  struct Mark {
    size_t enqueued;  ///< how many launches are before it
    Event event;
  };
  std::deque<Mark> marks_;
  size_t enqueued_ = 0, ended_ = 0;
};

}  // namespace kn::cuda
