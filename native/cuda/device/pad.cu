#include "grid.cuh"
#include "kernels.h"

namespace kn::cuda {

/// Rows of `narrow` units within rows of `wide` ones, behind `before`. A unit is a value, or 16 bytes of them.
struct RowPadding {
  int64_t rows, narrow, wide, before;
};

template <class Unit>
__global__ void padRows(RowPadding p, const Unit* x, Unit* y) {
  for (int64_t item = firstItem(); item < p.rows * p.wide; item += itemStep()) {
    const int64_t row = item / p.wide, at = item % p.wide - p.before;
    y[item] = at >= 0 && at < p.narrow ? x[row * p.narrow + at] : Unit{};
  }
}

template <class Unit>
__global__ void cropRows(RowPadding p, const Unit* dy, Unit* dx) {
  for (int64_t item = firstItem(); item < p.rows * p.narrow; item += itemStep()) {
    dx[item] = dy[item / p.narrow * p.wide + p.before + item % p.narrow];
  }
}

namespace {

/// Calls `body.template operator()<Unit>(padding in units)`; padding moves values of any type as bits.
template <class Body>
void forUnits(const RowPadding& values, size_t size, const void* a, const void* b, const Body& body) {
  const int64_t unit = static_cast<int64_t>(16 / size);
  const auto whole = [unit](int64_t count) { return count % unit == 0; };
  if (aligned16(a) && aligned16(b) && whole(values.narrow) && whole(values.wide) && whole(values.before)) {
    body.template operator()<uint4>({values.rows, values.narrow / unit, values.wide / unit, values.before / unit});
  } else if (size == 2) {
    body.template operator()<uint16_t>(values);
  } else {
    body.template operator()<uint32_t>(values);
  }
}

void pad(const RowPadding& values, size_t size, const void* x, void* y, Context& context) {
  forUnits(values, size, x, y, [&]<class Unit>(const RowPadding& p) {
    launchItems(context, p.rows * p.wide, padRows<Unit>, p, static_cast<const Unit*>(x), static_cast<Unit*>(y));
  });
}

void crop(const RowPadding& values, size_t size, const void* dy, void* dx, Context& context) {
  forUnits(values, size, dy, dx, [&]<class Unit>(const RowPadding& p) {
    launchItems(context, p.rows * p.narrow, cropRows<Unit>, p, static_cast<const Unit*>(dy), static_cast<Unit*>(dx));
  });
}

/// The flat vector that moves where splits aren't aligned is a single row.
template <class Belief>
RowPadding paddingOf(const Belief& o) {
  const int64_t wide = o.before + o.channels + o.after;
  return o.aligned ? RowPadding{o.splits, o.channels, wide, o.before}
                   : RowPadding{1, o.splits * o.channels, o.splits * wide, o.splits * o.before};
}

}  // namespace

void run(const op::PadChannels& o, Context& context) {
  pad({o.x.n * o.x.pixels(), o.x.c, o.y.c, o.before}, dtypeSize(o.x.stored), o.x.data, o.y.data, context);
}

void run(const op::PadChannelsBackward& o, Context& context) {
  crop({o.dx.n * o.dx.pixels(), o.dx.c, o.dy.c, o.before}, dtypeSize(o.dx.stored), o.dy.data, o.dx.data, context);
}

void run(const op::PadBelief& o, Context& context) { pad(paddingOf(o), sizeof(float), o.x, o.y, context); }

void run(const op::PadBeliefBackward& o, Context& context) { crop(paddingOf(o), sizeof(float), o.dy, o.dx, context); }

}  // namespace kn::cuda
