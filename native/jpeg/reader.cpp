#include "reader.h"

#include <jerror.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kn::jpeg {
namespace {

/// As many pixels as sharp takes by default.
constexpr int64_t kMostPixels = 0x3FFF * int64_t{0x3FFF};
/// Bytes of coefficients that libjpeg keeps of a picture in several scans, for as long as it is decoded: 44 million
/// pixels, or 89 with chroma at half the size. One in a single scan takes some rows.
constexpr uint64_t kMostCoefficients = uint64_t{256} << 20;
/// As libvips has it. A scan can cost the time of the whole picture, and take a few bytes.
constexpr int kMostScans = 100;

bool begins(const jpeg_marker_struct& marker, const char* text, size_t length) {
  return marker.data_length >= length && std::memcmp(marker.data, text, length) == 0;
}

/// The orientation that a marker with EXIF data has, or 0.
int orientationOf(const jpeg_marker_struct& marker) {
  constexpr size_t kIntroduction = 6;
  if (!begins(marker, "Exif\0\0", kIntroduction)) return 0;
  const uint8_t* tiff = marker.data + kIntroduction;
  const size_t length = marker.data_length - kIntroduction;
  if (length < 8) return 0;
  const bool little = std::memcmp(tiff, "II*\0", 4) == 0;
  if (!little && std::memcmp(tiff, "MM\0*", 4) != 0) return 0;
  const auto number = [&](size_t at, size_t bytes) {
    size_t value = 0;
    for (size_t i = 0; i < bytes; i++) value = value << 8 | tiff[at + (little ? bytes - 1 - i : i)];
    return value;
  };
  const size_t directory = number(4, 4);
  if (directory > length - 2) return 0;
  const size_t entries = number(directory, 2);
  for (size_t i = 0, at = directory + 2; i < entries && at + 12 <= length; i++, at += 12) {
    constexpr size_t kOrientation = 0x0112;
    if (number(at, 2) != kOrientation) continue;
    const size_t value = number(at + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 0;
  }
  return 0;
}

/// Whether a marker has the beginning of a colour profile other than sRGB's, by its name, in one of two codes.
bool isForeignProfile(const jpeg_marker_struct& marker) {
  if (!begins(marker, "ICC_PROFILE", 12)) return false;
  const std::string_view profile(reinterpret_cast<const char*>(marker.data), marker.data_length);
  using std::string_view_literals::operator""sv;
  return profile.find("sRGB"sv) == std::string_view::npos && profile.find("s\0R\0G\0B"sv) == std::string_view::npos;
}

/// Whether the end of an image is there. Codes never look like it.
bool hasEnd(const uint8_t* bytes, size_t length) {
  for (size_t at = length; at >= 2; at--) {
    if (bytes[at - 2] == 0xFF && bytes[at - 1] == JPEG_EOI) return true;
  }
  return false;
}

}  // namespace

/// libjpeg leaves by longjmp, so that no object that has to be freed may be made in `body`, nor passed to it by value.
template <typename Body>
void Reader::guarded(Body body) {
  if (setjmp(errors_.jump) != 0) throw std::runtime_error(errors_.text);
  body();
}

void Reader::fail(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  info->err->format_message(info, errors->text);
  longjmp(errors->jump, 1);
}

void Reader::warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    // Headers that say something odd before a picture that is whole.
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL: return;
    default: fail(info);
  }
}

void Reader::countScans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->text, sizeof errors->text, "more than %d scans", kMostScans);
  longjmp(errors->jump, 1);
}

Reader::Reader(const uint8_t* bytes, size_t length) {
  info_.err = jpeg_std_error(&errors_.manager);
  errors_.manager.error_exit = fail;
  errors_.manager.emit_message = warn;
  progress_.progress_monitor = countScans;
  try {
    guarded([&] {
      jpeg_create_decompress(&info_);
      info_.progress = &progress_;
      jpeg_mem_src(&info_, bytes, length);
      jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xFFFF);
      jpeg_save_markers(&info_, JPEG_APP0 + 2, 0xFFFF);
      jpeg_read_header(&info_, TRUE);
    });
    if (int64_t{width()} * height() > kMostPixels) {
      throw std::runtime_error(std::to_string(width()) + " × " + std::to_string(height()) + " pixels are too many");
    }
    if (const uint64_t bytes = coefficients(); bytes > kMostCoefficients) {
      throw std::runtime_error(std::to_string(width()) + " × " + std::to_string(height()) +
                               " pixels are too many in several scans: they take " + std::to_string(bytes >> 20) +
                               " MiB, at most " + std::to_string(kMostCoefficients >> 20) + " are allowed");
    }
    if (!hasEnd(info_.src->next_input_byte, info_.src->bytes_in_buffer)) throw std::runtime_error("it is truncated");
    readMarkers();
  } catch (...) {
    jpeg_destroy_decompress(&info_);
    throw;
  }
}

Reader::~Reader() { jpeg_destroy_decompress(&info_); }

uint64_t Reader::coefficients() {
  if (!jpeg_has_multiple_scans(&info_)) return 0;
  uint64_t blocks = 0;
  for (int i = 0; i < info_.num_components; i++) {
    const jpeg_component_info& component = info_.comp_info[i];
    blocks += uint64_t{component.width_in_blocks} * component.height_in_blocks;
  }
  return blocks * sizeof(JBLOCK);
}

void Reader::readMarkers() {
  const J_COLOR_SPACE space = info_.jpeg_color_space;
  supported_ = space == JCS_GRAYSCALE || space == JCS_YCbCr || space == JCS_RGB;
  int orientation = 0;
  for (const jpeg_marker_struct* marker = info_.marker_list; marker; marker = marker->next) {
    if (marker->marker == JPEG_APP0 + 2 && isForeignProfile(*marker)) supported_ = false;
    if (marker->marker == JPEG_APP0 + 1 && orientation == 0) orientation = orientationOf(*marker);
  }
  orientation_ = std::max(orientation, 1);
}

void Reader::start(int eighths, Span columns, Span rows) {
  // Chroma is interpolated between neighbours: with some beyond the part, pixels are those of the whole picture.
  constexpr int kNeighbours = 4;
  JDIMENSION left = static_cast<JDIMENSION>(std::max(columns.begin - kNeighbours, 0));
  guarded([&] {
    info_.scale_num = static_cast<unsigned>(eighths);
    info_.scale_denom = 8;
    info_.out_color_space = JCS_EXT_RGBX;
    jpeg_start_decompress(&info_);
    const JDIMENSION right = std::min<JDIMENSION>(columns.end + kNeighbours, info_.output_width);
    JDIMENSION width = right - left;
    // It is moved to where a block begins.
    if (width < info_.output_width) jpeg_crop_scanline(&info_, &left, &width);
    if (rows.begin > 0) jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(rows.begin));
  });
  offset_ = 4 * (static_cast<size_t>(columns.begin) - left);
  buffer_.resize(4 * static_cast<size_t>(info_.output_width));
}

const uint8_t* Reader::row() {
  guarded([&] {
    JSAMPROW row = buffer_.data();
    jpeg_read_scanlines(&info_, &row, 1);
  });
  return buffer_.data() + offset_;
}

void Reader::finish() {
  // Skipping to the end would read nothing; to the last row, it reads the codes of all before.
  const JDIMENSION left = info_.output_height - info_.output_scanline;
  if (left > 1) {
    guarded([&] { jpeg_skip_scanlines(&info_, left - 1); });
  }
  if (left > 0) row();
  guarded([&] { jpeg_finish_decompress(&info_); });
}

}  // namespace kn::jpeg
