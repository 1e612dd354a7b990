#include "loops.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "workers.h"

namespace kn::emulation {
namespace {

// A tile of four rows by sixteen columns stays in registers.
constexpr int64_t kRows = 4, kColumns = 16;
using Vector = float __attribute__((vector_size(32), aligned(4)));

/// A block of sums. `add` works on a copy, which the compiler keeps in registers.
struct Tile {
  Vector sums[kRows][2] = {};

  /// sums[j] += x[j][i]·w[i] for i in [0, count); `w` has rows of `stride`.
  void add(const float* const (&x)[kRows], int64_t xStride, const float* w, int64_t stride, int64_t count) {
    Vector local[kRows][2];
    std::memcpy(local, sums, sizeof sums);
    for (int64_t i = 0; i < count; ++i) {
      const auto* columns = reinterpret_cast<const Vector*>(w + i * stride);
      const Vector first = columns[0], second = columns[1];
#pragma GCC unroll 4
      for (int64_t j = 0; j < kRows; ++j) {
        local[j][0] += x[j][i * xStride] * first;
        local[j][1] += x[j][i * xStride] * second;
      }
    }
    std::memcpy(sums, local, sizeof sums);
  }
  const float* row(int64_t j) const { return reinterpret_cast<const float*>(sums[j]); }
};

/// For each place of the output and each tap of the filter, the place of the input, or -1.
std::vector<int64_t> inputPlaces(int64_t outputs, int64_t inputs, int64_t taps, int64_t stride, int64_t before,
                                 int64_t dilation, bool backward) {
  std::vector<int64_t> places;
  for (int64_t out = 0; out < outputs; ++out)
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t place = backward ? out + before - tap * dilation : out * stride - before + tap * dilation;
      if (backward) place = place >= 0 && place % stride == 0 ? place / stride : -1;
      places.push_back(place < inputs ? std::max<int64_t>(place, -1) : -1);
    }
  return places;
}

/// Sums over taps and input channels: the one loop behind the convolutions in both directions and matrix products.
struct Gather {
  int64_t n, inputHeight, inputWidth, inputChannels, outputHeight, outputWidth, outputChannels, tapsDown, tapsAcross;
  std::vector<int64_t> rows, columns;  ///< inputPlaces
  std::vector<float> weights;          ///< [tap, input channel, padded output channel]
  std::vector<float> zeros{};          ///< a pixel beyond the border

  std::vector<float> run(const std::vector<float>& input) {
    zeros.assign(paddedRow(inputChannels), 0.0f);
    const int64_t stride = paddedRow(outputChannels);
    std::vector<float> output(n * outputHeight * outputWidth * stride);
    parallelFor(n * outputHeight, [&](int64_t row) {
      const float* image = input.data() + row / outputHeight * inputHeight * inputWidth * paddedRow(inputChannels);
      float* out = output.data() + row * outputWidth * stride;
      for (int64_t x = 0; x < outputWidth; x += kRows)
        for (int64_t channel = 0; channel < stride; channel += kColumns) {
          const Tile tile = sum(image, row % outputHeight, x, channel);
          for (int64_t j = 0; j < std::min(kRows, outputWidth - x); ++j)
            std::copy_n(tile.row(j), kColumns, out + (x + j) * stride + channel);
        }
    });
    return output;
  }

 private:
  Tile sum(const float* image, int64_t y, int64_t x, int64_t channel) const {
    const int64_t stride = paddedRow(outputChannels), inputStride = paddedRow(inputChannels);
    const int64_t last = outputWidth - 1;
    Tile tile;
    for (int64_t r = 0; r < tapsDown; ++r) {
      const int64_t inputY = rows[y * tapsDown + r];
      if (inputY < 0) continue;
      for (int64_t s = 0; s < tapsAcross; ++s) {
        const float* from[kRows];
        bool any = false;
        for (int64_t j = 0; j < kRows; ++j) {
          const int64_t inputX = x + j <= last ? columns[(x + j) * tapsAcross + s] : -1;
          any |= inputX >= 0;
          from[j] = inputX < 0 ? zeros.data() : image + (inputY * inputWidth + inputX) * inputStride;
        }
        if (!any) continue;
        const float* w = weights.data() + (r * tapsAcross + s) * inputChannels * stride + channel;
        tile.add(from, 1, w, stride, inputChannels);
      }
    }
    return tile;
  }
};

std::vector<float> convert(const void* from, DType type, int64_t count) { return loadRows(from, type, 1, count); }

void forward(const cuda::Convolution& p, const void* x, const void* w, void* y) {
  const int64_t taps = p.r * p.s, stride = paddedRow(p.k);
  Gather gather{p.n, p.h, p.w, p.c, p.p, p.q, p.k, p.r, p.s, {}, {}, std::vector<float>(taps * p.c * stride)};
  gather.rows = inputPlaces(p.p, p.h, p.r, p.shape.strideH, p.shape.top, p.shape.dilationH, false);
  gather.columns = inputPlaces(p.q, p.w, p.s, p.shape.strideW, p.shape.left, p.shape.dilationW, false);
  const std::vector<float> filter = convert(w, p.type, p.k * taps * p.c);
  for (int64_t k = 0; k < p.k; ++k)
    for (int64_t i = 0; i < taps * p.c; ++i) gather.weights[i * stride + k] = filter[k * taps * p.c + i];
  const auto out = gather.run(loadRows(x, p.type, p.n * p.h * p.w, p.c));
  storeRows(out, p.type, p.n * p.p * p.q, p.k, y);
}

void backwardData(const cuda::Convolution& p, const void* dy, const void* w, void* dx) {
  const int64_t taps = p.r * p.s, stride = paddedRow(p.c);
  Gather gather{p.n, p.p, p.q, p.k, p.h, p.w, p.c, p.r, p.s, {}, {}, std::vector<float>(taps * p.k * stride)};
  gather.rows = inputPlaces(p.h, p.p, p.r, p.shape.strideH, p.shape.top, p.shape.dilationH, true);
  gather.columns = inputPlaces(p.w, p.q, p.s, p.shape.strideW, p.shape.left, p.shape.dilationW, true);
  const std::vector<float> filter = convert(w, p.type, p.k * taps * p.c);
  for (int64_t k = 0; k < p.k; ++k)
    for (int64_t tap = 0; tap < taps; ++tap)
      std::copy_n(filter.data() + (k * taps + tap) * p.c, p.c, gather.weights.data() + (tap * p.k + k) * stride);
  const auto out = gather.run(loadRows(dy, p.type, p.n * p.p * p.q, p.k));
  storeRows(out, p.type, p.n * p.h * p.w, p.c, dx);
}

/// The gradient of a filter from some of the samples. Sums run in float32 over less than 2·kRun pixels, then in double.
class WeightGradient {
 public:
  static constexpr int64_t kRun = 64;
  WeightGradient(const cuda::Convolution& problem, const void* x, const void* dy)
      : p(problem),
        x_(loadRows(x, p.type, p.n * p.h * p.w, p.c)),
        dy_(loadRows(dy, p.type, p.n * p.p * p.q, p.k)),
        rows_(inputPlaces(p.p, p.h, p.r, p.shape.strideH, p.shape.top, p.shape.dilationH, false)),
        range_(p.s, {0, 0}) {
    const std::vector<int64_t> columns =
        inputPlaces(p.q, p.w, p.s, p.shape.strideW, p.shape.left, p.shape.dilationW, false);
    for (int64_t s = 0; s < p.s; ++s)
      for (int64_t x = 0; x < p.q; ++x)
        if (columns[x * p.s + s] >= 0) range_[s] = {range_[s].second == 0 ? x : range_[s].first, x + 1};
  }

  /// Adds into `sums` [k, tap, padded c], for one tap.
  void add(int64_t sample, int64_t tap, double* sums) const {
    for (int64_t k = 0; k < p.k; k += kRows)
      for (int64_t c = 0; c < paddedRow(p.c); c += kColumns) addTile(sample, tap, k, c, sums);
  }

 private:
  void addTile(int64_t sample, int64_t tap, int64_t k, int64_t c, double* sums) const {
    const int64_t r = tap / p.s, s = tap % p.s, inStride = paddedRow(p.c), outStride = paddedRow(p.k);
    Tile tile;
    int64_t pending = 0;
    const auto flush = [&] {
      for (int64_t j = 0; j < std::min(kRows, p.k - k); ++j)
        for (int64_t i = 0; i < kColumns; ++i) sums[((k + j) * p.r * p.s + tap) * inStride + c + i] += tile.row(j)[i];
      tile = Tile();
      pending = 0;
    };
    const auto [first, end] = range_[s];
    for (int64_t y = 0; y < p.p; ++y) {
      const int64_t inputY = rows_[y * p.r + r];
      if (inputY < 0) continue;
      const float* input = x_.data() + (sample * p.h + inputY) * p.w * inStride + c;
      const float* gradient = dy_.data() + (sample * p.p + y) * p.q * outStride + k;
      for (int64_t x = first; x < end; x += kRun) {
        const int64_t count = std::min(kRun, end - x);
        const float* const at = gradient + x * outStride;
        const float* from = input + (x * p.shape.strideW - p.shape.left + s * p.shape.dilationW) * inStride;
        tile.add({at, at + 1, at + 2, at + 3}, outStride, from, p.shape.strideW * inStride, count);
        pending += count;
        if (pending >= kRun) flush();
      }
    }
    flush();
  }

  const cuda::Convolution& p;
  const std::vector<float> x_, dy_;
  const std::vector<int64_t> rows_;
  std::vector<std::pair<int64_t, int64_t>> range_;  ///< for each tap across, the outputs whose input is inside
};

/// The gradient, summed in double precision, is rounded to the type of the activations, as cuDNN does.
void backwardWeights(const cuda::Convolution& p, const void* x, const void* dy, void* dw) {
  const int64_t taps = p.r * p.s, stride = paddedRow(p.c), size = p.k * taps * stride;
  const int64_t parts = std::min<int64_t>(p.n, 8);  // whatever the number of threads
  const WeightGradient gradient(p, x, dy);
  std::vector<std::vector<double>> sums(parts, std::vector<double>(size));
  parallelFor(parts * taps, [&](int64_t task) {
    const int64_t part = task / taps;
    for (int64_t sample = p.n * part / parts; sample < p.n * (part + 1) / parts; ++sample)
      gradient.add(sample, task % taps, sums[part].data());
  });
  std::vector<float> rows(size);
  for (int64_t i = 0; i < size; ++i) {
    double sum = 0;
    for (const auto& part : sums) sum += part[i];
    rows[i] = static_cast<float>(sum);
  }
  storeRows(rows, p.type, p.k * taps, p.c, dw);
}

/// Copies channels [from, from + count) of rows of `channels` values, or back into them.
void moveChannels(std::byte* whole, int64_t rows, int64_t channels, std::byte* part, int64_t from, int64_t count,
                  size_t size, bool back) {
  const size_t bytes = count * size;
  for (int64_t row = 0; row < rows; ++row) {
    std::byte* const inWhole = whole + (row * channels + from) * size;
    std::byte* const inPart = part + row * bytes;
    std::memcpy(back ? inWhole : inPart, back ? inPart : inWhole, bytes);
  }
}

/// Each group is a convolution of its own, of some of the channels of x and y and of the filter's outputs.
void convolveGroups(const cuda::Convolution& p, const void* a, const void* b, void* out) {
  const int64_t groups = p.shape.groups, in = p.c / groups, outs = p.k / groups;
  const bool data = p.direction == cuda::Direction::BackwardData,
             weights = p.direction == cuda::Direction::BackwardWeights;
  cuda::Convolution one = p;
  one.c = in;
  one.k = outs;
  one.shape.groups = 1;
  const size_t size = dtypeSize(p.type);
  const int64_t filter = outs * p.r * p.s * in;
  const auto bytes = [](const void* values) { return static_cast<std::byte*>(const_cast<void*>(values)); };
  std::byte* const x = bytes(data ? out : a);
  std::byte* const w = bytes(weights ? out : b);
  std::byte* const y = bytes(data ? a : weights ? b : out);
  const int64_t inputs = p.n * p.h * p.w, outputs = p.n * p.p * p.q;
  std::vector<std::byte> xPart(inputs * in * size), yPart(outputs * outs * size);
  for (int64_t group = 0; group < groups; ++group) {
    std::byte* const filterPart = w + group * filter * size;
    const auto moveX = [&](bool back) { moveChannels(x, inputs, p.c, xPart.data(), group * in, in, size, back); };
    const auto moveY = [&](bool back) { moveChannels(y, outputs, p.k, yPart.data(), group * outs, outs, size, back); };
    if (data) {
      moveY(false);
      convolve(one, yPart.data(), filterPart, xPart.data());
      moveX(true);
    } else if (weights) {
      moveX(false);
      moveY(false);
      convolve(one, xPart.data(), yPart.data(), filterPart);
    } else {
      moveX(false);
      convolve(one, xPart.data(), filterPart, yPart.data());
      moveY(true);
    }
  }
}

/// body(begin, end) over parts of [0, count).
void parallelRanges(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  constexpr int64_t grain = 1 << 12;
  parallelFor((count + grain - 1) / grain, [&](int64_t i) { body(i * grain, std::min(count, (i + 1) * grain)); });
}

}  // namespace

int64_t paddedRow(int64_t channels) { return (channels + kColumns - 1) / kColumns * kColumns; }

std::vector<float> loadRows(const void* from, DType type, int64_t rows, int64_t channels) {
  const int64_t stride = paddedRow(channels);
  std::vector<float> to(rows * stride);
  const auto load = [&](const auto* values, auto&& toFloat) {
    parallelRanges(rows, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t c = 0; c < channels; ++c) to[row * stride + c] = toFloat(values[row * channels + c]);
    });
  };
  if (type == DType::F16)
    load(static_cast<const __half*>(from), [](__half value) { return __half2float(value); });
  else if (type == DType::BF16)
    load(static_cast<const __nv_bfloat16*>(from), [](__nv_bfloat16 value) { return __bfloat162float(value); });
  else
    load(static_cast<const float*>(from), [](float value) { return value; });
  return to;
}

void storeRows(const std::vector<float>& from, DType type, int64_t rows, int64_t channels, void* to) {
  const int64_t stride = paddedRow(channels);
  const auto store = [&](auto* values, auto&& fromFloat) {
    parallelRanges(rows, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t c = 0; c < channels; ++c) values[row * channels + c] = fromFloat(from[row * stride + c]);
    });
  };
  if (type == DType::F16)
    store(static_cast<__half*>(to), [](float value) { return __float2half_rn(value); });
  else if (type == DType::BF16)
    store(static_cast<__nv_bfloat16*>(to), [](float value) { return __float2bfloat16_rn(value); });
  else
    store(static_cast<float*>(to), [](float value) { return value; });
}

void convolve(const cuda::Convolution& problem, const void* a, const void* b, void* out) {
  if (problem.shape.groups > 1) return convolveGroups(problem, a, b, out);
  switch (problem.direction) {
    case cuda::Direction::Forward: return forward(problem, a, b, out);
    case cuda::Direction::BackwardData: return backwardData(problem, a, b, out);
    case cuda::Direction::BackwardWeights: return backwardWeights(problem, a, b, out);
  }
}

void multiply(const cuda::MatrixProduct& problem, const float* a, const float* b, const float* bias, float* out) {
  const auto [m, n, k, transposeA, transposeB, tf32] = problem;
  const int64_t stride = paddedRow(n), inputStride = paddedRow(k);
  // A row of m pixels with k channels.
  Gather gather{1, 1, m, k, 1, m, n, 1, 1, {}, {}, std::vector<float>(k * stride)};
  gather.rows = inputPlaces(1, 1, 1, 1, 0, 1, false);
  gather.columns = inputPlaces(m, m, 1, 1, 0, 1, false);
  std::vector<float> input(m * inputStride);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t row = 0; row < m; ++row) input[row * inputStride + i] = transposeA ? a[i * m + row] : a[row * k + i];
    for (int64_t column = 0; column < n; ++column)
      gather.weights[i * stride + column] = transposeB ? b[column * k + i] : b[i * n + column];
  }
  const std::vector<float> product = gather.run(input);
  for (int64_t row = 0; row < m; ++row)
    for (int64_t column = 0; column < n; ++column)
      out[row * n + column] = product[row * stride + column] + (bias ? bias[column] : 0.0f);
}

}  // namespace kn::emulation
