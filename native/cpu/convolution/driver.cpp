#include "driver.h"

#include <dnnl.hpp>
#include <vector>

namespace kn::cpu::convolution {

bool wideKernels() {
#ifdef KN_WIDE
  constexpr auto core = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  static const bool wide = (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & core) == core;
  return wide;
#else
  return false;
#endif
}

const Kernels& kernels() {
#ifdef KN_WIDE
  if (wideKernels()) return kWide;
#endif
  return kNarrow;
}

float* scratch(Scratch purpose, int64_t count) {
  thread_local std::vector<float> buffers[3];
  std::vector<float>& buffer = buffers[static_cast<int>(purpose)];
  if (static_cast<int64_t>(buffer.size()) < count + 16) buffer.resize(count + 16);
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  return buffer.data() + (64 - address % 64) % 64 / sizeof(float);
}

int64_t chunkLength(int64_t floats, int64_t bytes, int64_t least) {
  const int64_t fitting = bytes / (floats * static_cast<int64_t>(sizeof(float)));
  return std::clamp<int64_t>(fitting / kRows * kRows, least, kMostRows);
}

namespace {

constexpr int64_t kTasks = 8;
/// A part should be of several chunks, as its sums are read and written once more; and all of them of few megabytes.
int64_t partsOf(int64_t chunks, int64_t size) {
  constexpr int64_t values = 2 << 20;
  return std::clamp<int64_t>(std::min(chunks / 2, values / size), 1, kTasks);
}
/// What is summed is gathered for each slice.
int64_t slicesOf(int64_t parts, int64_t columns) { return std::clamp<int64_t>(columns / 64, 1, kTasks / parts); }

}  // namespace

PartSums::PartSums(int64_t chunks, int64_t rows, int64_t columns)
    : chunks_(chunks),
      rows_(rows),
      columns_(columns),
      parts_(partsOf(chunks, rows * columns)),
      slices_(slicesOf(parts_, columns)),
      width_((columns / slices_ + 31) / 32 * 32),
      values_(static_cast<float*>(std::aligned_alloc(64, parts_ * rows * columns * sizeof(float))), std::free) {
  require(values_ != nullptr, ErrorCode::OutOfMemory, "conv2d: no room for the sums of a filter's gradient");
}

PartSums::Task PartSums::task(int64_t index) const {
  const int64_t part = index / slices_, column = std::min(index % slices_ * width_, columns_);
  const int64_t width = std::min(width_, columns_ - column);
  float* sums = values_.get() + part * rows_ * columns_ + column;
  for (int64_t row = 0; row < rows_; ++row) std::fill_n(sums + row * columns_, width, 0.0f);
  return {part * chunks_ / parts_, (part + 1) * chunks_ / parts_, column, width, sums};
}

Float8 PartSums::total(int64_t row, int64_t column) const {
  const float* values = values_.get() + row * columns_ + column;
  Float8 sum = {};
  for (int64_t part = 0; part < parts_; ++part) sum += loadFull(values + part * rows_ * columns_);
  return sum;
}

}  // namespace kn::cpu::convolution
