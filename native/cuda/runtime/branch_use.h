#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "../../core/operations.h"

/// Launches of a recorded step that needn't wait for each other become branches of the graph: those of a layer (Main),
/// the gradient of its filter, the transition of its belief, what a block has beside its layers, the look at samples
/// and the averages of what it shows. Everything else is in a row, behind all branches.
namespace kn::cuda {

enum class Branch { Main, Weights, Beliefs, Shortcut, Observed, Averages, Poison };
constexpr size_t kBranches = 7;

/// Memory that a launch reads or writes.
struct Access {
  const void* data;  ///< null: none
  int64_t bytes;
  bool writes;
};
struct BranchUse {
  Branch branch;
  std::vector<Access> accesses;

  /// Throws InvalidState where an operation of so many bytes points to memory that isn't named here. `holds(address)`:
  /// whether the device has memory there.
  void check(const char* label, const void* operation, size_t bytes,
             const std::function<bool(const void* address)>& holds) const;
};

/// For the operations that may be branches: theirs, and all memory that they touch besides scratch.
BranchUse branchUse(const op::Conv2d& o);
BranchUse branchUse(const op::Conv2dBackwardData& o);
BranchUse branchUse(const op::BatchNorm& o);
BranchUse branchUse(const op::BatchNormBackward& o);
BranchUse branchUse(const op::AdaptiveKalmanNorm& o);
BranchUse branchUse(const op::AdaptiveKalmanNormBackward& o);
BranchUse branchUse(const op::AddMoments& o);
BranchUse branchUse(const op::Add& o);
BranchUse branchUse(const op::Conv2dBackwardWeights& o);
BranchUse branchUse(const op::AddEach& o);
BranchUse branchUse(const op::RectifyBelief& o);
BranchUse branchUse(const op::RectifyBeliefBackward& o);
BranchUse branchUse(const op::PadBelief& o);
BranchUse branchUse(const op::PadBeliefBackward& o);
BranchUse branchUse(const op::Predict& o);
BranchUse branchUse(const op::PredictBackward& o);
BranchUse branchUse(const op::AvgPool2d& o);
BranchUse branchUse(const op::AvgPool2dBackward& o);
BranchUse branchUse(const op::PadChannels& o);
BranchUse branchUse(const op::PadChannelsBackward& o);
BranchUse branchUse(const op::CenterObserved& o);
BranchUse branchUse(const op::AverageObserved& o);

template <class Op>
concept Branching = requires(const Op& o) {
  branchUse(o);
};

}  // namespace kn::cuda
