#include "reduce.h"

#include <algorithm>

#include "checks.h"

namespace kn {

Tensor reduce(const Tensor& x, const Shape& shape, Format format, ReduceKind kind) {
  constexpr const char* fn = "reduce";
  checkFloat(x, {fn, "x"});
  Device& device = x.device();
  checkDevice(device, x, {fn, "x"});
  const int before = x.shape.rank() - shape.rank();
  require(before >= 0, ErrorCode::ShapeMismatch, fn, ": ", x.shape.str(), " can't be reduced to ", shape.str());
  // Axes that are kept, and those whose values are terms; the others have size 1.
  Shape kept, terms;
  int reduced = 0;
  for (int axis = 0; axis < x.shape.rank(); ++axis) {
    const int64_t size = x.shape[axis], result = axis < before ? 1 : shape[axis - before];
    require(result == size || result == 1, ErrorCode::ShapeMismatch, fn, ": ", x.shape.str(), " can't be reduced to ",
            shape.str());
    kept.push(result);
    terms.push(result == size ? 1 : size);
    reduced += result != size;
  }
  const bool index = kind == ReduceKind::ArgMax;
  require(!index || reduced <= 1, ErrorCode::InvalidArgument, fn, ": an index counts along one axis, got ", reduced);
  const DType dtype = index ? DType::I32 : DType::F32;
  require(format != Format::Filter || shape.rank() == 4, ErrorCode::ShapeMismatch, fn, ": ", shape.str(),
          " can't have the filter format");
  require(format != Format::Activation || shape.rank() == 4 || shape.rank() == 2, ErrorCode::ShapeMismatch, fn, ": ",
          shape.str(), " can't have the activation format");
  Tensor out = device.empty(shape, dtype, index ? Format::Plain : format);
  op::View input = viewOf(device, x, x.shape), inner = input, result = viewOf(device, out, x.shape);
  op::Reduce launch{{}, {}, input, {}, result, kind};
  launch.outputs = walkOver(kept, launch.out, {&launch.x});
  launch.terms = walkOver(terms, inner, {});
  std::copy(std::begin(inner.axes), std::end(inner.axes), launch.termAxes);
  device.launch(launch);
  return out;
}

}  // namespace kn
