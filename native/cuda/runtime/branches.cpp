#include "branches.h"

#include <algorithm>

namespace kn::cuda {
namespace {

size_t index(Branch branch) { return static_cast<size_t>(branch); }

Access reads(const void* data, int64_t bytes) { return {data, bytes, false}; }
Access writes(const void* data, int64_t bytes) { return {data, bytes, true}; }

int64_t bytesOf(const op::Act& act) {
  const DType stored = act.format == Format::Plain ? DType::F32 : act.stored;
  return act.count() * static_cast<int64_t>(dtypeSize(stored));
}
/// Of float32; in fewer bits it is less.
int64_t bytesOf(const op::Filter& w) { return w.count() * static_cast<int64_t>(sizeof(float)); }
int64_t floats(int64_t count) { return count * static_cast<int64_t>(sizeof(float)); }

Access reads(const op::Values& values) {
  return reads(values.data, values.count * static_cast<int64_t>(dtypeSize(values.stored)));
}
Access reads(const op::Act& act) { return reads(act.data, bytesOf(act)); }
Access writes(const op::Act& act) { return writes(act.data, bytesOf(act)); }

bool meet(const Access& a, const Access& b) {
  if (!a.data || !b.data || !(a.writes || b.writes)) return false;
  const auto begin = [](const Access& x) { return reinterpret_cast<uintptr_t>(x.data); };
  const auto end = [&](const Access& x) { return begin(x) + static_cast<uintptr_t>(x.bytes); };
  return begin(a) < end(b) && begin(b) < end(a);
}

/// Half as many bytes: the values in 16 bits.
Access readsRounded(const op::Filter& w) { return reads(w.rounded, bytesOf(w) / 2); }

}  // namespace

BranchUse branchUse(const op::Conv2d& o) {
  return {Branch::Main,
          {reads(o.x), reads(o.w.data, bytesOf(o.w)), readsRounded(o.w), reads(o.bias, floats(o.w.out)), writes(o.y)}};
}
BranchUse branchUse(const op::Conv2dBackwardData& o) {
  return {Branch::Main, {reads(o.dy), reads(o.w.data, bytesOf(o.w)), readsRounded(o.w), writes(o.dx)}};
}
BranchUse branchUse(const op::Conv2dBackwardWeights& o) {
  return {Branch::Weights,
          {reads(o.x), reads(o.dy), writes(o.rounded, bytesOf(o.dw) / 2),
           writes(o.rounded ? nullptr : o.dw.data, bytesOf(o.dw))}};
}
BranchUse branchUse(const op::AdaptiveKalmanNorm& o) {
  const op::AdaptiveFilter& f = o.filter;
  const int64_t channels = floats(o.x.c), cells = o.splits * channels, state = adaptive::kRows * channels;
  BranchUse use{Branch::Main, {reads(o.x), writes(o.y), writes(f.state, state), reads(f.upstream, state)}};
  for (const float* const vector : {f.priorMean, f.priorVar, f.gamma, o.beta}) {
    use.accesses.push_back(reads(vector, channels));
  }
  for (float* const vector : {f.beliefMean, f.beliefVar, f.normalizedVar, f.runningMean, f.runningVar}) {
    use.accesses.push_back(writes(vector, channels));
  }
  for (float* const vector : {f.obsMean, f.obsVar, f.postMean, f.postVar, f.gainMean, f.gainVar}) {
    use.accesses.push_back(writes(vector, cells));
  }
  return use;
}
BranchUse branchUse(const op::AddMoments& o) {
  const int64_t moments = floats(o.splits * o.out.c);
  return {Branch::Main, {reads(o.a), reads(o.b), writes(o.out), writes(o.mean, moments), writes(o.var, moments)}};
}
BranchUse branchUse(const op::AddEach& o) {
  BranchUse use{Branch::Beliefs, {}};
  for (const op::AddedPair& pair : o.pairs) {
    for (const op::Values& in : {pair.a, pair.b}) use.accesses.push_back(reads(in));
    use.accesses.push_back(writes(pair.out, floats(pair.count)));
  }
  return use;
}
BranchUse branchUse(const op::RectifyBelief& o) {
  const int64_t bytes = floats(o.count);
  return {Branch::Beliefs,
          {reads(o.mean, bytes), reads(o.var, bytes), writes(o.outMean, bytes), writes(o.outVar, bytes)}};
}
BranchUse branchUse(const op::Predict& o) {
  const int64_t in = floats(o.splits * o.w.in * o.shape.groups), out = floats(o.splits * o.w.out);
  return {Branch::Beliefs,
          {reads(o.mean, in), reads(o.var, in), reads(o.w.data, bytesOf(o.w)), writes(o.outMean, out),
           writes(o.outVar, out)}};
}
BranchUse branchUse(const op::PredictBackward& o) {
  const int64_t in = floats(o.splits * o.w.in * o.shape.groups), out = floats(o.splits * o.w.out);
  return {Branch::Beliefs,
          {reads(o.mean, in), reads(o.var, in), reads(o.w.data, bytesOf(o.w)), reads(o.doutMean, out),
           reads(o.doutVar, out), reads(o.shown.slope, bytesOf(o.w)), reads(o.shown.variance, floats(o.w.out)),
           reads(o.shown.average, floats(o.w.out)), writes(o.dmean, in), writes(o.dvar, in),
           writes(o.dw.data, bytesOf(o.dw))}};
}

BranchUse branchUse(const op::CenterObserved& o) {
  const int64_t channels = floats(o.y.c);
  return {Branch::Observed,
          {reads(o.y), reads(o.center, channels), reads(o.variance, channels), reads(o.updates, sizeof *o.updates),
           writes(o.next, 2 * channels + floats(1)), writes(o.centered)}};
}
BranchUse branchUse(const op::AverageObserved& o) {
  const int64_t channels = floats(o.channels);
  return {Branch::Observed,
          {reads(o.products), reads(o.next, 2 * channels + floats(1)), writes(o.slope, floats(o.products.count)),
           writes(o.center, channels), writes(o.variance, channels), writes(o.updates, sizeof *o.updates)}};
}

Branches::Branches(const Stream& main) : main_(main) {
  for (Stream& stream : streams_) stream = makeStream();
}

cudaStream_t Branches::streamOf(Branch branch) const {
  return branch == Branch::Main ? main_.get() : streams_[index(branch) - 1].get();
}

void Branches::enter(Branch branch) {
  if (!fork_.get()) fork_ = recordEvent(main_.get());
  if (forked_[index(branch)]) return;
  if (branch != Branch::Main) KN_CUDA_CHECK(cudaStreamWaitEvent(streamOf(branch), fork_.get(), 0));
  forked_[index(branch)] = true;
}

/// Nothing follows of the launch that has begun last.
void Branches::close() {
  if (launches_.empty() || launches_[current_].end.get()) return;
  launches_[current_].end = recordEvent(streamOf(launches_[current_].branch));
}

void Branches::waitForThoseThat(Branch branch, const Access& access) {
  for (size_t i = launches_.size(); i-- > 0;) {
    const Launch& other = launches_[i];
    size_t& seen = seen_[index(branch)][index(other.branch)];
    if (other.branch == branch || i < seen) continue;
    if (std::none_of(other.accesses.begin(), other.accesses.end(), [&](const Access& a) { return meet(a, access); })) {
      continue;
    }
    if (other.end.get()) {
      KN_CUDA_CHECK(cudaStreamWaitEvent(streamOf(branch), other.end.get(), 0));
      seen = i + 1;
    } else {
      order(streamOf(other.branch), streamOf(branch));
    }
  }
}

cudaStream_t Branches::begin(const BranchUse& use) {
  close();
  enter(use.branch);
  for (const Access& access : use.accesses) waitForThoseThat(use.branch, access);
  current_ = launches_.size();
  launches_.push_back({use.branch, use.accesses, {}});
  return streamOf(use.branch);
}

void Branches::touch(const Access& access) {
  if (launches_.empty()) return;
  waitForThoseThat(launches_[current_].branch, access);
  launches_[current_].accesses.push_back(access);
}

void Branches::poison(const Access& access, const std::function<void(cudaStream_t stream)>& fill) {
  if (launches_.empty()) return fill(main_.get());
  enter(Branch::Poison);
  waitForThoseThat(Branch::Poison, access);
  const cudaStream_t stream = streamOf(Branch::Poison);
  launches_.push_back({Branch::Poison, {access}, {}});
  fill(stream);
  launches_.back().end = recordEvent(stream);
}

void Branches::join() {
  for (size_t i = 1; i < kBranches; ++i) {
    if (forked_[i]) order(streams_[i - 1].get(), main_.get());
  }
  reset();
}

void Branches::reset() {
  fork_ = {};
  forked_ = {};
  launches_.clear();
  current_ = 0;
  seen_ = {};
}

}  // namespace kn::cuda
