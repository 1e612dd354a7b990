#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "reader.h"

namespace kn::jpeg {

/// A part of an axis; its ends may lie within pixels.
struct Interval {
  double begin, end;
};

/// How the pixels of an axis make `size` others: by a triangle, made wider where they become fewer, as Pillow's
/// bilinear filter and torchvision's antialiasing have it.
class Taps {
 public:
  /// @param part what becomes `size` pixels
  /// @param bounds the pixels that may be used
  Taps(Interval part, int size, Span bounds);

  int size() const { return static_cast<int>(spans_.size()); }
  /// The pixels that make one of the others, and their weights, of the sum 1.
  Span span(int i) const { return spans_[i]; }
  const float* weights(int i) const { return &weights_[i * width_]; }
  /// From the weights of one to those of the next.
  size_t width() const { return width_; }
  const Span* spans() const { return spans_.data(); }
  /// All pixels that are used.
  Span span() const { return {spans_.front().begin, spans_.back().end}; }

 private:
  std::vector<Span> spans_;
  size_t width_;
  std::vector<float> weights_;
};

/// Where pixels go: that of row r and column c to `first` + r · `row` + c · `column`, in each of three planes.
struct Place {
  uint8_t* first;
  ptrdiff_t row, column;
  ptrdiff_t plane;
};

/// Resizes a picture row by row, as they are decoded, down the columns first.
class Resizer {
 public:
  Resizer(const Taps& columns, const Taps& rows, const Place& place);
  /// The next row of `rows.span()`, with the pixels of `columns.span()`, 4 bytes each.
  void add(const uint8_t* row);

 private:
  float* sums(int i) { return &sums_[(i % kept_) * length_]; }
  void write(int i);

  const Taps &columns_, &rows_;
  const Place place_;
  /// Rows of the result that are under way at a time, at most.
  int kept_ = 1;
  /// Values of a row of the picture.
  size_t length_;
  std::vector<float> sums_;
  int next_, first_ = 0;
};

}  // namespace kn::jpeg
