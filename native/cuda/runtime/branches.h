#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "branch_use.h"
#include "handles.h"

namespace kn::cuda {

/// The launches of a step that is recorded, in branches of its graph.
class Branches {
 public:
  explicit Branches(const Stream& main);

  /// The stream for a launch. It waits for those in other branches that touch the same memory, unless both read it.
  cudaStream_t begin(const BranchUse& use);
  /// Whether a launch in the main branch would have to wait for others to touch this.
  bool isContended(const Access& access) const;
  /// The launch that has begun uses this, too. Without branches: nothing.
  void touch(const Access& access);
  /// Has memory filled that is handed out, perhaps for the launch that has begun.
  void poison(const Access& access, const std::function<void(cudaStream_t stream)>& fill);
  /// Whatever is enqueued in the main stream from now on waits for all branches.
  void join();
  /// Forgets what was captured.
  void reset();

 private:
  struct Launch {
    Branch branch;
    std::vector<Access> accesses;
    Event end;  ///< none as long as more of it may follow
  };
  cudaStream_t streamOf(Branch branch) const;
  void enter(Branch branch);
  void close();
  /// Calls `visit` with the indices of launches in other branches that need an order with the access and that the
  /// branch hasn't waited for.
  template <class Visit>
  void overOthers(Branch branch, const Access& access, const Visit& visit) const;
  void waitForThoseThat(Branch branch, const Access& access);

  const Stream& main_;
  std::array<Stream, kBranches - 1> streams_;  ///< of all branches but the main one
  Event fork_;                                 ///< before all branches; none where there aren't any
  std::array<bool, kBranches> forked_{};
  std::vector<Launch> launches_;
  size_t current_ = 0;                                           ///< the launch that has begun last
  std::array<std::array<size_t, kBranches>, kBranches> seen_{};  ///< [branch][other]: launches that it needn't wait for
};

}  // namespace kn::cuda
