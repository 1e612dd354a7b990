#pragma once
#include <omp.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "../core/operations.h"
#include "parallel.h"

namespace kn::cpu {

/// About how many nanoseconds an operation takes one thread: no more than a rule for what a team is woken for, by the
/// shapes alone, so that an operation is always computed in the same way.
inline int64_t timeAlone(const op::Act& values) { return values.count(); }
inline int64_t timeAlone(const op::Values& values) { return values.count; }
inline int64_t timeAlone(const op::Filter& w) { return w.count(); }
template <class Parameter>
int64_t timeAlone(const std::vector<Parameter>& list) {
  int64_t values = 0;
  for (const Parameter& parameter : list) values += parameter.count;
  return values;
}
inline int64_t timeAlone(const op::Filter& w, const op::Act& y) {
  constexpr int64_t productsPerNanosecond = 64;
  return w.count() * y.n * y.pixels() / productsPerNanosecond;
}

template <class Op>
int64_t aloneFor(const Op& o) {
  if constexpr (requires { timeAlone(o.w, o.y); }) {
    return timeAlone(o.w, o.y);
  } else if constexpr (requires { timeAlone(o.w, o.dy); }) {
    return timeAlone(o.w, o.dy);
  } else if constexpr (requires { timeAlone(o.dw, o.dy); }) {
    return timeAlone(o.dw, o.dy);
  } else if constexpr (requires { o.splits* timeAlone(o.w); }) {
    constexpr int64_t nanosecondsPerTap = 4;
    return o.splits * timeAlone(o.w) * nanosecondsPerTap;
  } else if constexpr (requires { o.n* o.in* o.out; }) {
    constexpr int64_t productsPerNanosecond = 8;
    return o.n * o.in * o.out / productsPerNanosecond;
  } else if constexpr (requires { timeAlone(o.parameters); }) {
    return timeAlone(o.parameters);
  } else if constexpr (requires { timeAlone(o.tensors); }) {
    return timeAlone(o.tensors);
  } else if constexpr (requires { timeAlone(o.pairs); }) {
    return timeAlone(o.pairs);
  } else if constexpr (requires { timeAlone(o.x); }) {
    return timeAlone(o.x);
  } else if constexpr (requires { timeAlone(o.dy); }) {
    return timeAlone(o.dy);
  } else if constexpr (requires { timeAlone(o.y); }) {
    return timeAlone(o.y);
  } else if constexpr (requires { timeAlone(o.out); }) {
    return timeAlone(o.out);
  } else if constexpr (requires { timeAlone(o.w); }) {
    return timeAlone(o.w);
  } else {
    return std::numeric_limits<int64_t>::max();
  }
}

/// The size of the teams that the executor's thread starts, while this lives: one for short operations.
class Team {
 public:
  Team(int threads, int64_t nanoseconds) : threads_(threads), alone_(threads > 1 && nanoseconds < kWorthWaking) {
    if (alone_) omp_set_num_threads(1);
  }
  ~Team() {
    if (alone_) omp_set_num_threads(threads_);
  }
  Team(const Team&) = delete;

 private:
  const int threads_;
  const bool alone_;
};

}  // namespace kn::cpu
