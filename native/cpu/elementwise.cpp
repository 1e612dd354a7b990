#include <cmath>

#include "kernels.h"
#include "parallel.h"

/// Plain loops, which the compiler vectorises. The ranges are large enough to hide the cost of waking the team, and
/// small enough that an activation of a CIFAR network feeds every core.
namespace kn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

template <class Element>
void forEach(int64_t count, const Element& element) {
  parallelRanges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) element(i);
  });
}

}  // namespace

void run(const op::Add& o) {
  forEach(o.count, [=](int64_t i) { o.out[i] = o.a[i] + o.b[i]; });
}

void run(const op::Scale& o) {
  const float factor = o.by ? o.factor * *o.by : o.factor;
  forEach(o.count, [=](int64_t i) { o.out[i] = factor * o.x[i]; });
}

// The comparisons are chosen so that a NaN passes, forward and backward.
void run(const op::Relu& o) {
  forEach(o.count, [=](int64_t i) { o.y[i] = o.x[i] < 0 ? 0 : o.x[i]; });
}

void run(const op::ReluBackward& o) {
  forEach(o.count, [=](int64_t i) { o.dx[i] = o.y[i] <= 0 ? 0 : o.dy[i]; });
}

void run(const op::Sigmoid& o) {
  forEach(o.count, [=](int64_t i) { o.y[i] = 1 / (1 + std::exp(-o.x[i])); });
}

void run(const op::SigmoidBackward& o) {
  forEach(o.count, [=](int64_t i) { o.dx[i] = o.dy[i] * o.y[i] * (1 - o.y[i]); });
}

}  // namespace kn::cpu
