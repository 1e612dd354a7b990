#include "branches.h"

#include <algorithm>

namespace kn::cuda {
namespace {

size_t index(Branch branch) { return static_cast<size_t>(branch); }

bool meet(const Access& a, const Access& b) {
  if (!a.data || !b.data || !(a.writes || b.writes)) return false;
  const auto begin = [](const Access& x) { return reinterpret_cast<uintptr_t>(x.data); };
  const auto end = [&](const Access& x) { return begin(x) + static_cast<uintptr_t>(x.bytes); };
  return begin(a) < end(b) && begin(b) < end(a);
}

}  // namespace

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

template <class Visit>
void Branches::overOthers(Branch branch, const Access& access, const Visit& visit) const {
  for (size_t i = launches_.size(); i-- > 0;) {
    const Launch& other = launches_[i];
    if (other.branch == branch || i < seen_[index(branch)][index(other.branch)]) continue;
    const auto meets = [&](const Access& a) { return meet(a, access); };
    if (std::any_of(other.accesses.begin(), other.accesses.end(), meets)) visit(i);
  }
}

void Branches::waitForThoseThat(Branch branch, const Access& access) {
  overOthers(branch, access, [&](size_t i) {
    const Launch& other = launches_[i];
    if (other.end.get()) {
      KN_CUDA_CHECK(cudaStreamWaitEvent(streamOf(branch), other.end.get(), 0));
      seen_[index(branch)][index(other.branch)] = i + 1;
    } else {
      order(streamOf(other.branch), streamOf(branch));
    }
  });
}

bool Branches::isContended(const Access& access) const {
  bool contended = false;
  overOthers(Branch::Main, access, [&](size_t) { contended = true; });
  return contended;
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
