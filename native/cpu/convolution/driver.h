#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "kernels.h"

/// What convolutions by own kernels share.
namespace kn::cpu::convolution {

/// Whether the kernels are those for AVX-512. As oneDNN has it, ONEDNN_MAX_CPU_ISA in the environment says what may be
/// used of a processor.
bool wideKernels();
const Kernels& kernels();

/// Scratch memory of a thread, of one of three purposes; grows and stays.
enum class Scratch { Values, Products, Filters };
float* scratch(Scratch purpose, int64_t count);

/// All rows of an operation, tiles or pixels, as chunks.
struct Chunks {
  int64_t rows, length;

  int64_t count() const { return (rows + length - 1) / length; }
  Chunk operator[](int64_t index) const { return {index * length, std::min((index + 1) * length, rows), length}; }
};

constexpr int64_t kMostRows = 16 * kRows;    ///< of a chunk
constexpr int64_t kCachedBytes = 128 << 10;  ///< half a second-level cache, or less

/// The length of chunks whose matrices have so many floats a row and are to take about so many bytes.
int64_t chunkLength(int64_t floats, int64_t bytes, int64_t least);

/// A filter's gradient as a matrix of sums over chunks. The work is cut by chunks, whose parts are added up in the end,
/// and by columns where the matrix is large: by the shapes alone, so that sums don't depend on the number of threads.
class PartSums {
 public:
  PartSums(int64_t chunks, int64_t rows, int64_t columns);

  /// What one thread sums: chunks [first, last) into `width` columns from `column` on, which start as zeros at `sums`.
  struct Task {
    int64_t first, last, column, width;
    float* sums;
  };
  int64_t tasks() const { return parts_ * slices_; }
  Task task(int64_t index) const;

  /// Eight sums of all parts.
  Float8 total(int64_t row, int64_t column) const;
  /// About how many nanoseconds it takes to go through the totals.
  int64_t timeOfTotals() const { return rows_ * columns_ * (parts_ + 4) / 16; }

 private:
  const int64_t chunks_, rows_, columns_, parts_, slices_, width_;
  const std::unique_ptr<float[], decltype(&std::free)> values_;
};

}  // namespace kn::cpu::convolution
