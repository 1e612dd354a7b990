#include "kernels.h"
#include "strided.h"

namespace kn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

template <BinaryKind kind>
void combine(const op::Binary& o) {
  if (o.flat) {
    const auto *a = static_cast<const float*>(o.a.data), *b = static_cast<const float*>(o.b.data);
    auto* const out = static_cast<float*>(o.out.data);
    return parallelRanges(o.flat, kGrain, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = binaryValue(kind, a[i], b[i]);
    });
  }
  const int last = o.walk.rank - 1;
  const op::Axis alongA = o.a.axes[last], alongB = o.b.axes[last], alongOut = o.out.axes[last];
  forRows(
      o.walk,
      [&](int32_t length, const float* a, const float* b, float* out) {
        for (int32_t i = 0; i < length; ++i) out[alongOut.at(i)] = binaryValue(kind, a[alongA.at(i)], b[alongB.at(i)]);
      },
      o.a, o.b, o.out);
}

}  // namespace

/// A loop for each kind, so that none chooses within.
void run(const op::Binary& o, Context&) {
  switch (o.kind) {
    case BinaryKind::Add: return combine<BinaryKind::Add>(o);
    case BinaryKind::Subtract: return combine<BinaryKind::Subtract>(o);
    case BinaryKind::Multiply: return combine<BinaryKind::Multiply>(o);
    case BinaryKind::Divide: return combine<BinaryKind::Divide>(o);
    case BinaryKind::Maximum: return combine<BinaryKind::Maximum>(o);
    case BinaryKind::Minimum: return combine<BinaryKind::Minimum>(o);
    case BinaryKind::Equal: return combine<BinaryKind::Equal>(o);
    case BinaryKind::Greater: return combine<BinaryKind::Greater>(o);
    case BinaryKind::Where: return combine<BinaryKind::Where>(o);
    case BinaryKind::WhereNot: return combine<BinaryKind::WhereNot>(o);
  }
}

}  // namespace kn::cpu
