#pragma once
#include <cstdint>

namespace kn::cpu {

/// Runs body(i) for i in [0, count) on the executor's OpenMP team, in contiguous shares. What a task computes must not
/// depend on the number of threads; then neither do the results.
template <class Body>
void parallelFor(int64_t count, const Body& body) {
// Waking the team costs tens of microseconds; a single task runs without it.
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t i = 0; i < count; ++i) body(i);
}

/// As parallelFor, over ranges of at least `grain` elements: body(begin, end).
template <class Body>
void parallelRanges(int64_t count, int64_t grain, const Body& body) {
  const int64_t tasks = (count + grain - 1) / grain;
  parallelFor(tasks, [&](int64_t task) {
    const int64_t begin = task * grain;
    body(begin, begin + grain < count ? begin + grain : count);
  });
}

}  // namespace kn::cpu
