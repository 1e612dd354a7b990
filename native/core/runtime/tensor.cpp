#include "tensor.h"

namespace kn {

Shape::Shape(std::initializer_list<int64_t> sizes) {
  for (int64_t size : sizes) push(size);
}

void Shape::push(int64_t size) {
  require(rank_ < kMaxRank, ErrorCode::InvalidArgument, "shape: expected at most ", kMaxRank, " sizes");
  sizes_[rank_++] = size;
}

int64_t Shape::count() const {
  int64_t count = 1;
  for (int i = 0; i < rank_; ++i) count *= sizes_[i];
  return count;
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if (sizes_[i] != other.sizes_[i]) return false;
  }
  return true;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(sizes_[i]);
  return text + "]";
}

Tensor Tensor::samples(int64_t from, int64_t count) const {
  require(format != Format::Filter && shape.rank() >= 1, ErrorCode::InvalidArgument,
          "samples: expected an activation or a plain tensor, got format ", formatName(format), " of shape ",
          shape.str());
  require(from >= 0 && count >= 1 && from + count <= shape[0], ErrorCode::InvalidArgument, "samples: range [", from,
          ", ", from + count, ") is not within the ", shape[0], " samples");
  Tensor view = *this;
  view.offset += from * (shape.count() / shape[0]) * static_cast<int64_t>(dtypeSize(stored));
  view.shape[0] = count;
  view.virtualSamples = 0;
  return view;
}

}  // namespace kn
