#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "../../core/operations.h"
#include "handles.h"

/// Launches of a recorded step that needn't wait for each other: a layer's convolution, the gradient of its filter, the
/// transition of its belief and the look at samples become branches of the graph. Everything else is in a row, behind
/// all branches.
namespace kn::cuda {

enum class Branch { Main, Weights, Beliefs, Observed, Poison };
constexpr size_t kBranches = 5;

/// Memory that a launch reads or writes.
struct Access {
  const void* data;  ///< null: none
  int64_t bytes;
  bool writes;
};
struct BranchUse {
  Branch branch;
  std::vector<Access> accesses;
};

/// For the operations that may be branches: theirs, and all memory that they touch besides scratch.
BranchUse branchUse(const op::Conv2d& o);
BranchUse branchUse(const op::Conv2dBackwardData& o);
BranchUse branchUse(const op::Conv2dBackwardWeights& o);
BranchUse branchUse(const op::AdaptiveKalmanNorm& o);
BranchUse branchUse(const op::AddMoments& o);
BranchUse branchUse(const op::AddEach& o);
BranchUse branchUse(const op::RectifyBelief& o);
BranchUse branchUse(const op::Predict& o);
BranchUse branchUse(const op::PredictBackward& o);
BranchUse branchUse(const op::CenterObserved& o);
BranchUse branchUse(const op::AverageObserved& o);

template <class Op>
concept Branching = requires(const Op& o) {
  branchUse(o);
};

class Branches {
 public:
  explicit Branches(const Stream& main);

  /// The stream for a launch. It waits for those in other branches that touch the same memory, unless both read it.
  cudaStream_t begin(const BranchUse& use);
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
