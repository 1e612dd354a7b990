#include <cmath>

#include "kernels.h"
#include "parallel.h"
#include "tensor_list.h"

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

/// A loop for each kind, so that none chooses within.
template <class Body>
void forKind(MapKind kind, const Body& body) {
  switch (kind) {
    case MapKind::Exp: return body.template operator()<MapKind::Exp>();
    case MapKind::Log: return body.template operator()<MapKind::Log>();
    case MapKind::Sqrt: return body.template operator()<MapKind::Sqrt>();
    case MapKind::Reciprocal: return body.template operator()<MapKind::Reciprocal>();
    case MapKind::Abs: return body.template operator()<MapKind::Abs>();
    case MapKind::Tanh: return body.template operator()<MapKind::Tanh>();
    case MapKind::Sigmoid: return body.template operator()<MapKind::Sigmoid>();
    case MapKind::Gelu: return body.template operator()<MapKind::Gelu>();
    case MapKind::Silu: return body.template operator()<MapKind::Silu>();
    case MapKind::Softplus: return body.template operator()<MapKind::Softplus>();
    case MapKind::LeakyRelu: return body.template operator()<MapKind::LeakyRelu>();
    case MapKind::Pow: return body.template operator()<MapKind::Pow>();
    case MapKind::Clamp: return body.template operator()<MapKind::Clamp>();
  }
}

}  // namespace

void run(const op::Add& o, Context&) {
  map(
      o.out, [](float a, float b) { return a + b; }, o.a, o.b);
}

void run(const op::AddEach& o, Context&) {
  forTensors(o.pairs, [](const op::AddedPair& p, int64_t begin, int64_t end, int64_t) {
    const float *const a = p.a.values(), *const b = p.b.values();
    for (int64_t i = begin; i < end; ++i) p.out[i] = a[i] + b[i];
  });
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

void run(const op::Map& o, Context&) {
  forKind(o.kind, [&]<MapKind kind>() {
    map(
        o.y, [a = o.a, b = o.b](float x) { return mapValue(kind, x, a, b); }, o.x);
  });
}

void run(const op::MapBackward& o, Context&) {
  forKind(o.kind, [&]<MapKind kind>() {
    map(
        o.dx, [a = o.a, b = o.b](float at, float dy) { return dy * mapSlope(kind, at, a, b); }, o.at, o.dy);
  });
}

}  // namespace kn::cpu
