#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel.h"

namespace kn::cpu {

/// Values of a task of forTensors. Sums of tasks, added in order, don't depend on the number of threads.
constexpr int64_t kListGrain = 1 << 14;

/// How many tasks forTensors makes.
template <class Tensor>
int64_t listTasks(const std::vector<Tensor>& tensors) {
  int64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.count;
  return (total + kListGrain - 1) / kListGrain;
}

/// Cuts all tensors, laid end to end, into equal shares, a task each: a network has many small ones beside a few large
/// ones. Calls body(tensor, begin, end, task) for every part of a tensor.
template <class Tensor, class Body>
void forTensors(const std::vector<Tensor>& tensors, const Body& body) {
  std::vector<int64_t> ends;
  ends.reserve(tensors.size());
  int64_t total = 0;
  for (const Tensor& tensor : tensors) ends.push_back(total += tensor.count);
  parallelRanges(total, kListGrain, [&](int64_t begin, int64_t end) {
    const int64_t task = begin / kListGrain;
    size_t i = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++i) {
      const int64_t start = ends[i] - tensors[i].count;
      const int64_t stop = std::min(end, ends[i]);
      body(tensors[i], begin - start, stop - start, task);
      begin = stop;
    }
  });
}

}  // namespace kn::cpu
