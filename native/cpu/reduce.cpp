#include <cmath>
#include <limits>

#include "kernels.h"
#include "strided.h"

namespace kn::cpu {
namespace {

/// Calls body(values, i) for each term, in the order of the walk.
template <class Body>
void forTerms(const op::Reduce& o, const float* x, const Body& body) {
  const int last = o.terms.rank - 1;
  const int32_t length = o.terms.sizes[last];
  const op::Axis along = o.termAxes[last];
  const int64_t rows = o.terms.count() / length;
  int32_t index[op::kMostAxes] = {};
  for (int64_t row = 0; row < rows; ++row) {
    rowIndex(o.terms, row, index);
    const float* const begin = x + rowOffset(o.terms, o.termAxes, index);
    for (int32_t i = 0; i < length; ++i) body(begin[along.at(i)], i);
  }
}

/// In four chains, because each addition waits for the one before.
double sum(const op::Reduce& o, const float* x) {
  double sums[4] = {};
  forTerms(o, x, [&](float value, int32_t i) { sums[i & 3] += value; });
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

struct Largest {
  float value = -std::numeric_limits<float>::infinity();
  int32_t place = 0;
};

/// The first of the largest; a NaN is larger than all.
Largest largest(const op::Reduce& o, const float* x) {
  Largest found;
  forTerms(o, x, [&](float value, int32_t i) {
    if (value > found.value || (std::isnan(value) && !std::isnan(found.value))) found = {value, i};
  });
  return found;
}

}  // namespace

/// An output is computed by one thread, in one order.
void run(const op::Reduce& o, Context&) {
  const int64_t terms = o.terms.count();
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / terms);
  const auto* const x = static_cast<const float*>(o.x.data);
  parallelRanges(o.outputs.count(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const from = x + offsetOf(o.outputs, o.x.axes, i);
      const int64_t to = offsetOf(o.outputs, o.out.axes, i);
      auto* const value = static_cast<float*>(o.out.data) + to;
      switch (o.kind) {
        case ReduceKind::Sum: *value = static_cast<float>(sum(o, from)); break;
        case ReduceKind::Mean: *value = static_cast<float>(sum(o, from) / static_cast<double>(terms)); break;
        case ReduceKind::Max: *value = largest(o, from).value; break;
        case ReduceKind::ArgMax: static_cast<int32_t*>(o.out.data)[to] = largest(o, from).place; break;
      }
    }
  });
}

}  // namespace kn::cpu
