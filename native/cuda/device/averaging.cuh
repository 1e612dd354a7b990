#pragma once
#include "../../core/ops/moments.h"
#include "planes.cuh"

/// Running averages, which move in the first blocks of the launch that normalizes: 31 launches less in a network of 32
/// layers. Its other blocks read the same statistics, none of them the averages.
namespace kn::cuda {

struct Averaging {
  op::UpdateRunning update;
  Team team;  ///< of a channel
  int channels;
  unsigned blocks;

  /// By blocks of so many threads; no blocks where there is nothing to do.
  static Averaging by(unsigned threads, const op::UpdateRunning& update) {
    if (!update.runningMean) return {update, {1}, 0, 0};
    Team team = Team::of(update.allSplits ? update.splits : 1);
    while (static_cast<unsigned>(team.size) > threads) team.size /= 2;
    const int channels = static_cast<int>(threads) / team.size;
    return {update, team, channels, static_cast<unsigned>(ceilDivide(update.channels, channels))};
  }
};

/// Adds what a member of a team has of a channel's statistics to their sums.
__device__ __forceinline__ void addStatistics(const op::UpdateRunning& o, int64_t channel, int member, int members,
                                              double (&sums)[2]) {
  const int64_t splits = o.allSplits ? o.splits : 1;
  for (int64_t s = member; s < splits; s += members) {
    sums[0] += o.mean[s * o.channels + channel];
    sums[1] += o.var[s * o.channels + channel];
  }
}

/// Moves a channel's averages by the sums of its statistics.
__device__ __forceinline__ void moveAverage(const op::UpdateRunning& o, int64_t channel, const double (&sums)[2]) {
  const int64_t splits = o.allSplits ? o.splits : 1;
  // One batch that isn't finite would stay for ever.
  if (!isfinite(sums[0] + sums[1])) return;
  const float mean = static_cast<float>(sums[0] / splits), var = static_cast<float>(sums[1] / splits * o.correction);
  o.runningMean[channel] = fmaf(-o.momentum, o.runningMean[channel] - mean, o.runningMean[channel]);
  o.runningVar[channel] = fmaf(-o.momentum, o.runningVar[channel] - var, o.runningVar[channel]);
}

/// Moves the averages of the block's channels. All of its threads must call it.
__device__ __forceinline__ void moveAverages(const Averaging& averaging) {
  const op::UpdateRunning& o = averaging.update;
  const Team team = averaging.team;
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * averaging.channels + team.inBlockIndex();
  // What is left of the threads is no team.
  const bool active = team.inBlockIndex() < averaging.channels && channel < o.channels;
  double sums[2] = {0, 0};
  if (active) addStatistics(o, channel, team.member(), team.size, sums);
  sumTeam(team, sums);
  if (active && team.member() == 0) moveAverage(o, channel, sums);
}

}  // namespace kn::cuda
