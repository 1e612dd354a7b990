#pragma once
#include <cstdint>

namespace kn::cpu {

/// What a single thread must need, in nanoseconds, for waking the others to pay: of a team that doesn't spin that takes
/// a virtual machine 100 to 200 microseconds where its cores are idle.
inline constexpr int64_t kWorthWaking = 150'000;

/// Runs body(i) for i in [0, count) on the executor's OpenMP team, in contiguous shares, or by the executor alone where
/// it isn't worth waking the others. What a task computes must not depend on the number of threads; then neither do the
/// results.
/// @param nanoseconds about what all of it takes one thread
template <class Body>
void parallelFor(int64_t count, const Body& body, int64_t nanoseconds = kWorthWaking) {
#pragma omp parallel for schedule(static) if (count > 1 && nanoseconds >= kWorthWaking)
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
