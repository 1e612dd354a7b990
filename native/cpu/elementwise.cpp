#include <cmath>

#include "kernels.h"
#include "parallel.h"

/// Plain loops, which the compiler vectorises. The ranges are large enough to hide the cost of waking the team, and
/// small enough that an activation of a CIFAR network feeds every core.
namespace kn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

/// out = f(values...), value by value.
template <class Function, class... In>
void map(const op::Values& out, Function f, const In&... in) {
  float* const to = out.values();
  parallelRanges(out.count, kGrain, [&](int64_t begin, int64_t end) {
    [&](const auto* const... from) {
      for (int64_t i = begin; i < end; ++i) to[i] = f(from[i]...);
    }(in.values()...);
  });
}

}  // namespace

void run(const op::Add& o, Context&) {
  map(
      o.out, [](float a, float b) { return a + b; }, o.a, o.b);
}

void run(const op::Multiply& o, Context&) {
  map(
      o.out, [](float a, float b) { return a * b; }, o.a, o.b);
}

void run(const op::Scale& o, Context&) {
  const float factor = o.by ? o.factor * *o.by : o.factor;
  map(
      o.out, [factor](float x) { return factor * x; }, o.x);
}

// The comparisons are chosen so that a NaN passes, forward and backward.
void run(const op::Relu& o, Context&) {
  map(
      o.y, [](float x) { return x < 0 ? 0 : x; }, o.x);
}

void run(const op::ReluBackward& o, Context&) {
  map(
      o.dx, [](float y, float dy) { return y <= 0 ? 0 : dy; }, o.y, o.dy);
}

void run(const op::Sigmoid& o, Context&) {
  map(
      o.y, [](float x) { return 1 / (1 + std::exp(-x)); }, o.x);
}

void run(const op::SigmoidBackward& o, Context&) {
  map(
      o.dx, [](float y, float dy) { return dy * y * (1 - y); }, o.y, o.dy);
}

}  // namespace kn::cpu
