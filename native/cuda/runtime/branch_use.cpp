#include "branch_use.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace kn::cuda {
namespace {

Access reads(const void* data, int64_t bytes) { return {data, bytes, false}; }
Access writes(const void* data, int64_t bytes) { return {data, bytes, true}; }

int64_t bytesOf(const op::Act& act) {
  const DType stored = act.format == Format::Plain ? DType::F32 : act.stored;
  return act.count() * static_cast<int64_t>(dtypeSize(stored));
}
int64_t floats(int64_t count) { return count * static_cast<int64_t>(sizeof(float)); }
/// Of float32; in fewer bits it is less.
int64_t bytesOf(const op::Filter& w) { return floats(w.count()); }
int64_t bytesOf(const op::Values& values) { return values.count * static_cast<int64_t>(dtypeSize(values.stored)); }

Access reads(const op::Values& values) { return reads(values.data, bytesOf(values)); }
Access writes(const op::Values& values) { return writes(values.data, bytesOf(values)); }
Access reads(const op::Act& act) { return reads(act.data, bytesOf(act)); }
Access writes(const op::Act& act) { return writes(act.data, bytesOf(act)); }

/// Half as many bytes: the values in 16 bits.
Access readsRounded(const op::Filter& w) { return reads(w.rounded, bytesOf(w) / 2); }

/// Vectors of `count` floats each. What an operation may write, it can't merely read.
template <class... Float>
void addReads(BranchUse& use, int64_t count, Float*... vectors) {
  static_assert((std::is_const_v<Float> && ...));
  (use.accesses.push_back({vectors, floats(count), false}), ...);
}
template <class... Float>
void addWrites(BranchUse& use, int64_t count, Float*... vectors) {
  static_assert((!std::is_const_v<Float> && ...));
  (use.accesses.push_back({vectors, floats(count), true}), ...);
}

}  // namespace

void BranchUse::check(const char* label, const void* operation, size_t bytes,
                      const std::function<bool(const void* address)>& holds) const {
  const auto named = [this](const void* address) {
    return std::any_of(accesses.begin(), accesses.end(), [address](const Access& access) {
      const char* const begin = static_cast<const char*>(access.data);
      return begin && address >= begin && address < begin + access.bytes;
    });
  };
  std::vector<const void*> words(bytes / sizeof(void*));
  std::memcpy(words.data(), operation, words.size() * sizeof(void*));
  for (const void* const word : words) {
    require(!holds(word) || named(word), ErrorCode::InvalidState, label, ": its branchUse doesn't name all memory");
  }
}

BranchUse branchUse(const op::Conv2d& o) {
  return {Branch::Main,
          {reads(o.x), reads(o.w.data, bytesOf(o.w)), readsRounded(o.w), reads(o.bias, floats(o.w.out)), writes(o.y)}};
}
BranchUse branchUse(const op::Conv2dBackwardData& o) {
  return {Branch::Main, {reads(o.dy), reads(o.w.data, bytesOf(o.w)), readsRounded(o.w), writes(o.dx)}};
}
BranchUse branchUse(const op::BatchNorm& o) {
  BranchUse use{Branch::Main, {reads(o.x), writes(o.y)}};
  addReads(use, o.x.c, o.gamma, o.beta);
  addWrites(use, o.splits * o.x.c, o.mean, o.var);
  addWrites(use, o.x.c, o.running.runningMean, o.running.runningVar);
  return use;
}
BranchUse branchUse(const op::BatchNormBackward& o) {
  BranchUse use{Branch::Main, {reads(o.x), reads(o.dy), reads(o.add), writes(o.dx)}};
  addReads(use, o.x.c, o.gamma, o.beta);
  addReads(use, o.splits * o.x.c, o.mean, o.var);
  addWrites(use, o.x.c, o.dgamma, o.dbeta);
  return use;
}
BranchUse branchUse(const op::AdaptiveKalmanNorm& o) {
  const op::AdaptiveFilter& f = o.filter;
  const int64_t channels = o.x.c, state = adaptive::kRows * channels;
  BranchUse use{Branch::Main, {reads(o.x), writes(o.y)}};
  addReads(use, state, f.upstream);
  addReads(use, channels, f.priorMean, f.priorVar, f.gamma, o.beta);
  addWrites(use, state, f.state);
  addWrites(use, channels, f.beliefMean, f.beliefVar, f.normalizedVar, f.runningMean, f.runningVar);
  addWrites(use, o.splits * channels, f.obsMean, f.obsVar, f.postMean, f.postVar, f.gainMean, f.gainVar);
  return use;
}
BranchUse branchUse(const op::AdaptiveKalmanNormBackward& o) {
  BranchUse use{Branch::Main, {reads(o.x), reads(o.dy), reads(o.add), writes(o.dx)}};
  addReads(use, o.x.c, o.gamma, o.beta, o.priorMean, o.priorVar, o.beliefMean, o.beliefVar, o.dbeliefMean, o.dbeliefVar,
           o.dnormalizedVar);
  addReads(use, o.splits * o.x.c, o.obsMean, o.obsVar, o.postMean, o.postVar, o.gainMean, o.gainVar);
  addWrites(use, o.x.c, o.dpriorMean, o.dpriorVar, o.dgamma, o.dbeta);
  return use;
}
BranchUse branchUse(const op::AddMoments& o) {
  BranchUse use{Branch::Main, {reads(o.a), reads(o.b), writes(o.out)}};
  addWrites(use, o.splits * o.out.c, o.mean, o.var);
  return use;
}
BranchUse branchUse(const op::Add& o) { return {Branch::Main, {reads(o.a), reads(o.b), writes(o.out)}}; }

BranchUse branchUse(const op::Conv2dBackwardWeights& o) {
  return {Branch::Weights,
          {reads(o.x), reads(o.dy), writes(o.rounded, bytesOf(o.dw) / 2),
           writes(o.rounded ? nullptr : o.dw.data, bytesOf(o.dw))}};
}

BranchUse branchUse(const op::AddEach& o) {
  BranchUse use{Branch::Beliefs, {}};
  for (const op::AddedPair& pair : o.pairs) {
    for (const op::Values& in : {pair.a, pair.b}) use.accesses.push_back(reads(in));
    addWrites(use, pair.count, pair.out);
  }
  return use;
}
BranchUse branchUse(const op::RectifyBelief& o) {
  BranchUse use{Branch::Beliefs, {}};
  addReads(use, o.count, o.mean, o.var);
  addWrites(use, o.count, o.outMean, o.outVar);
  return use;
}
BranchUse branchUse(const op::RectifyBeliefBackward& o) {
  BranchUse use{Branch::Beliefs, {}};
  addReads(use, o.count, o.mean, o.var, o.doutMean, o.doutVar);
  addWrites(use, o.count, o.dmean, o.dvar);
  return use;
}
BranchUse branchUse(const op::PadBelief& o) {
  BranchUse use{Branch::Beliefs, {}};
  addReads(use, o.splits * o.channels, o.x);
  addWrites(use, o.splits * (o.before + o.channels + o.after), o.y);
  return use;
}
BranchUse branchUse(const op::PadBeliefBackward& o) {
  BranchUse use{Branch::Beliefs, {}};
  addReads(use, o.splits * (o.before + o.channels + o.after), o.dy);
  addWrites(use, o.splits * o.channels, o.dx);
  return use;
}
BranchUse branchUse(const op::Predict& o) {
  BranchUse use{Branch::Beliefs, {reads(o.w.data, bytesOf(o.w)), readsRounded(o.w)}};
  addReads(use, o.splits * o.w.in * o.shape.groups, o.mean, o.var);
  addWrites(use, o.splits * o.w.out, o.outMean, o.outVar);
  return use;
}
BranchUse branchUse(const op::PredictBackward& o) {
  const int64_t in = o.splits * o.w.in * o.shape.groups;
  BranchUse use{Branch::Beliefs,
                {reads(o.w.data, bytesOf(o.w)), readsRounded(o.w), reads(o.shown.slope, bytesOf(o.w)),
                 writes(o.dw.data, bytesOf(o.dw))}};
  addReads(use, in, o.mean, o.var);
  addReads(use, o.splits * o.w.out, o.doutMean, o.doutVar);
  addReads(use, o.w.out, o.shown.variance, o.shown.average);
  addWrites(use, in, o.dmean, o.dvar);
  return use;
}

BranchUse branchUse(const op::AvgPool2d& o) { return {Branch::Shortcut, {reads(o.x), writes(o.y)}}; }
BranchUse branchUse(const op::AvgPool2dBackward& o) { return {Branch::Shortcut, {reads(o.dy), writes(o.dx)}}; }
BranchUse branchUse(const op::PadChannels& o) { return {Branch::Shortcut, {reads(o.x), writes(o.y)}}; }
BranchUse branchUse(const op::PadChannelsBackward& o) { return {Branch::Shortcut, {reads(o.dy), writes(o.dx)}}; }

BranchUse branchUse(const op::CenterObserved& o) {
  const int64_t channels = o.y.c;
  BranchUse use{Branch::Observed, {reads(o.y), reads(o.updates, sizeof *o.updates), writes(o.centered)}};
  addReads(use, channels, o.center, o.variance);
  addWrites(use, 2 * channels + 1, o.next);
  return use;
}

BranchUse branchUse(const op::AverageObserved& o) {
  BranchUse use{Branch::Averages, {reads(o.products), writes(o.updates, sizeof *o.updates)}};
  addReads(use, 2 * o.channels + 1, o.next);
  addWrites(use, o.products.count, o.slope);
  addWrites(use, o.channels, o.center, o.variance);
  return use;
}

}  // namespace kn::cuda
