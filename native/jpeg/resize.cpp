#include "resize.h"

#include <algorithm>
#include <cmath>

// The same operations by wider registers, so that the same bits come out: GCC makes no fused ones for "avx2" alone.
#if defined(__x86_64__) && defined(__GNUC__)
#define KN_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define KN_WIDE
#endif

namespace kn::jpeg {
namespace {

using Pixel [[gnu::vector_size(16)]] = float;
using Whole [[gnu::vector_size(16)]] = int;

KN_WIDE void weigh(float* sums, const uint8_t* row, size_t length, float weight) {
  for (size_t i = 0; i < length; i++) sums[i] = weight * static_cast<float>(row[i]);
}

KN_WIDE void addWeighed(float* sums, const uint8_t* row, size_t length, float weight) {
  for (size_t i = 0; i < length; i++) sums[i] += weight * static_cast<float>(row[i]);
}

}  // namespace

Taps::Taps(Interval part, int size, Span bounds) {
  const double scale = (part.end - part.begin) / size;
  const double reach = std::max(scale, 1.0);
  width_ = static_cast<size_t>(2 * std::ceil(reach)) + 1;
  spans_.reserve(size);
  weights_.resize(size * width_);
  for (int i = 0; i < size; i++) {
    const double centre = part.begin + (i + 0.5) * scale;
    const auto edge = [&](double at) {
      return std::clamp(static_cast<int>(std::lround(at)), bounds.begin, bounds.end);
    };
    Span span{edge(centre - reach), edge(centre + reach)};
    // Rounding may leave none of a part that is thinner than a pixel.
    span.begin = std::min(span.begin, bounds.end - 1);
    span.end = std::max(span.end, span.begin + 1);
    float* weights = &weights_[i * width_];
    double sum = 0;
    const auto weight = [&](int at) { return std::max(1 - std::abs(at + 0.5 - centre) / reach, 1e-9); };
    for (int at = span.begin; at < span.end; at++) sum += weight(at);
    for (int at = span.begin; at < span.end; at++) weights[at - span.begin] = static_cast<float>(weight(at) / sum);
    spans_.push_back(span);
  }
}

Resizer::Resizer(const Taps& columns, const Taps& rows, const Place& place)
    : columns_(columns), rows_(rows), place_(place), next_(rows.span().begin) {
  for (int i = 0, last = 0; i < rows.size(); i++) {
    while (last < rows.size() && rows.span(last).begin < rows.span(i).end) last++;
    kept_ = std::max(kept_, last - i);
  }
  length_ = 4 * static_cast<size_t>(columns.span().length());
  sums_.resize(kept_ * length_);
}

void Resizer::add(const uint8_t* row) {
  for (int i = first_; i < rows_.size() && rows_.span(i).begin <= next_; i++) {
    const int tap = next_ - rows_.span(i).begin;
    (tap == 0 ? weigh : addWeighed)(sums(i), row, length_, rows_.weights(i)[tap]);
  }
  next_++;
  while (first_ < rows_.size() && rows_.span(first_).end == next_) write(first_++);
}

void Resizer::write(int i) {
  // Own copies, which bytes that are written can't be taken for.
  const Place place = place_;
  const Span* span = columns_.spans();
  const Span* const end = span + columns_.size();
  const float* weights = columns_.weights(0);
  const size_t width = columns_.width();
  const float* const sums = this->sums(i) - ptrdiff_t{4} * span->begin;
  uint8_t* to = place.first + i * place.row;
  for (; span < end; span++, weights += width, to += place.column) {
    const int count = span->length();
    const float* from = sums + ptrdiff_t{4} * span->begin;
    Pixel pixel = {0.5F, 0.5F, 0.5F, 0.5F};
    for (int tap = 0; tap < count; tap++, from += 4) pixel += weights[tap] * Pixel{from[0], from[1], from[2], from[3]};
    const auto whole = __builtin_convertvector(pixel, Whole);
    to[0] = static_cast<uint8_t>(whole[0]);
    to[place.plane] = static_cast<uint8_t>(whole[1]);
    to[2 * place.plane] = static_cast<uint8_t>(whole[2]);
  }
}

}  // namespace kn::jpeg
