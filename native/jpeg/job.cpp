#include "job.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace kn::jpeg {
namespace {

/// Every JPEG begins so: the start of the image, and of the next marker.
constexpr uint8_t kMagic[] = {0xFF, 0xD8, 0xFF};

bool isJpeg(const uint8_t* bytes, size_t length) {
  return length >= sizeof kMagic && std::equal(std::begin(kMagic), std::end(kMagic), bytes);
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// A part of an axis on which the picture is stored, of one that is seen the other way round if `flipped`.
Interval stored(Interval seen, int length, bool flipped) {
  return flipped ? Interval{length - seen.end, length - seen.begin} : seen;
}

/// The pixels that may be used for a part.
Span boundsOf(Interval part, int length, bool beyond) {
  if (beyond) return {0, length};
  return {static_cast<int>(std::floor(part.begin)), static_cast<int>(std::ceil(part.end))};
}

/// The least share of the picture's size, in eighths, at which a part still has `size` pixels a side. The powers of two
/// are those that libjpeg-turbo has SIMD code for.
int eighthsFor(const Box& part, int size) {
  int eighths = 1;
  while (eighths < 8 && std::min(part.width, part.height) * eighths < 8.0 * size) eighths *= 2;
  return eighths;
}

Taps tapsFor(Interval part, int size, Span bounds, int eighths, int length) {
  const double scale = eighths / 8.0;
  const auto up = [&](int pixels) { return (pixels * eighths + 7) / 8; };
  return {
      {part.begin * scale, part.end * scale}, size, {bounds.begin * eighths / 8, std::min(up(bounds.end), up(length))}};
}

}  // namespace

bool Job::open() {
  if (!path_.empty()) load();
  if (!isJpeg(bytes_, length_)) return false;
  reader_ = std::make_unique<Reader>(bytes_, length_);
  return reader_->supported();
}

/// Reads the file, if it is one and begins as a JPEG does.
void Job::load() {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path_.c_str(), "rbe"));
  struct stat status {};
  if (!file || fstat(fileno(file.get()), &status) != 0) throw std::runtime_error(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return;
  // Not through a buffer: it is read at once.
  std::setvbuf(file.get(), nullptr, _IONBF, 0);
  uint8_t begin[sizeof kMagic];
  const size_t length = std::fread(begin, 1, sizeof begin, file.get());
  if (!isJpeg(begin, length)) return;
  const auto size = std::max(static_cast<size_t>(status.st_size), length);
  file_.reset(new uint8_t[size]);
  std::copy_n(begin, length, file_.get());
  length_ = length + std::fread(file_.get() + length, 1, size - length, file.get());
  if (std::ferror(file.get())) throw std::runtime_error(std::strerror(errno));
  bytes_ = file_.get();
}

int Job::width() const { return turned() ? reader_->height() : reader_->width(); }
int Job::height() const { return turned() ? reader_->width() : reader_->height(); }

void Job::decode(const Box& part, bool beyond, bool whole, int size, uint8_t* into) {
  // Written so that what is no number is refused, too.
  const auto isWithin = [](double begin, double span, int length) {
    return begin >= 0 && span > 0 && begin + span <= length + 1e-6;
  };
  if (!isWithin(part.left, part.width, width()) || !isWithin(part.top, part.height, height())) {
    throw std::runtime_error("the part lies outside the image");
  }
  // The reader goes when it has been read.
  const int orientation = reader_->orientation();
  const auto isOneOf = [&](auto... values) { return ((orientation == values) || ...); };
  const bool flippedX = isOneOf(2, 3, 6, 7);
  const bool flippedY = isOneOf(3, 4, 7, 8);

  Interval columns = stored({part.left, part.left + part.width}, width(), flippedX);
  Interval rows = stored({part.top, part.top + part.height}, height(), flippedY);
  // Where the planes take what is next to a pixel, as it is seen.
  ptrdiff_t right = flippedX ? -1 : 1;
  ptrdiff_t down = flippedY ? -size : size;
  uint8_t* first = into + (flippedX ? size - 1 : 0) + (flippedY ? ptrdiff_t{size} * (size - 1) : 0);
  if (turned()) {
    std::swap(columns, rows);
    std::swap(right, down);
  }

  const int eighths = eighthsFor(part, size);
  const int width = reader_->width();
  const int height = reader_->height();
  const Taps across = tapsFor(columns, size, boundsOf(columns, width, beyond), eighths, width);
  const Taps along = tapsFor(rows, size, boundsOf(rows, height, beyond), eighths, height);
  Resizer resizer(across, along, Place{first, down, right, ptrdiff_t{size} * size});
  reader_->start(eighths, across.span(), along.span());
  for (int row = along.span().begin; row < along.span().end; row++) resizer.add(reader_->row());
  if (whole) reader_->finish();
}

}  // namespace kn::jpeg
