#pragma once
#include <mutex>

#include "../../core/runtime/error.h"

namespace kn::cuda {

/// What a device has failed with, for all threads that work for it. The first stays: later ones follow from it.
class FirstFailure {
 public:
  void note(const Failure& failure) {
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = failure;
  }
  Failure known() const {
    std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  mutable std::mutex mutex_;
  Failure failure_;
};

}  // namespace kn::cuda
