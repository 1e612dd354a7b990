#include <algorithm>
#include <limits>

#include "kernels.h"
#include "parallel.h"

namespace kn::cpu {
namespace {

/// Where a sample's crop lies on the canvas, whose image begins at [pad, pad], and its square of zeros in the result.
struct Crop {
  int64_t row, column;
  bool flip;
  int64_t top, left;
};

Crop drawCrop(const op::Gather& o, int64_t sample) {
  if (!o.augment) return {o.pad, o.pad, false, 0, 0};
  const int32_t* state = o.random.state;
  const auto words = philox({static_cast<uint32_t>(sample), o.random.stream, static_cast<uint32_t>(state[2]), 0},
                            {static_cast<uint32_t>(state[0]), static_cast<uint32_t>(state[1])});
  const auto range = static_cast<uint64_t>(2 * o.pad);
  return {static_cast<int64_t>(words[0] * range >> 32), static_cast<int64_t>(words[1] * range >> 32),
          words[2] >> 31 != 0, (int64_t{words[3] >> 16} * o.x.h >> 16) - o.cutout / 2,
          (int64_t{words[3] & 0xffff} * o.x.w >> 16) - o.cutout / 2};
}

/// The image of the set that sample `i` of the batch is, or -1 where the cursor or the index is outside.
int64_t imageOf(const op::Gather& o, int64_t i) {
  const int64_t at = int64_t{*o.cursor} * o.x.n + i;
  if (at < 0 || at >= o.indexCount) return -1;
  const int64_t image = o.indices[at];
  return image < o.imageCount ? std::max<int64_t>(image, -1) : -1;
}

void copyCrop(const op::Gather& o, const uint8_t* image, const Crop& crop, float* x) {
  const int64_t height = o.x.h, width = o.x.w;
  const float* mean = o.mean;
  for (int64_t c = 0; c < o.x.c; ++c, image += height * width) {
    for (int64_t y = 0; y < height; ++y, mean += width, x += width) {
      const int64_t row = y + crop.row - o.pad;
      const bool inside = row >= 0 && row < height, cut = y >= crop.top && y < crop.top + o.cutout;
      for (int64_t i = 0; i < width; ++i) {
        const int64_t column = (crop.flip ? width - 1 - i : i) + crop.column - o.pad;
        const float raw = inside && column >= 0 && column < width ? image[row * width + column] : 0;
        const bool hidden = cut && i >= crop.left && i < crop.left + o.cutout;
        x[i] = hidden ? 0 : o.scale * (raw - mean[i]);
      }
    }
  }
}

}  // namespace

void run(const op::Gather& o, Context&) {
  const int64_t values = o.x.c * o.x.pixels();
  parallelFor(o.x.n, [&](int64_t i) {
    const int64_t image = imageOf(o, i);
    float* x = o.x.values() + i * values;
    if (image < 0) {
      // No data: the loss shall show it.
      std::fill_n(x, values, std::numeric_limits<float>::quiet_NaN());
      o.y[i] = -1;
      return;
    }
    copyCrop(o, o.images + image * values, drawCrop(o, o.first + i), x);
    o.y[i] = o.labels[image];
  });
}

}  // namespace kn::cpu
