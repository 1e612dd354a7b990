#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <jpeglib.h>

namespace kn::jpeg {

/// Pixels from `begin` up to `end` along an axis.
struct Span {
  int begin, end;
  int length() const { return end - begin; }
};

/// Reads a JPEG in memory by libjpeg-turbo: the header at once, then the part of it that is asked for. Damage, of which
/// libjpeg only warns, too, throws a std::runtime_error with libjpeg's text.
class Reader {
 public:
  /// The bytes must outlive it.
  Reader(const uint8_t* bytes, size_t length);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Whether rows can be had: not of CMYK, nor where a colour profile other than sRGB's says what the numbers mean.
  bool supported() const { return supported_; }
  /// Pixels, as they are stored.
  int width() const { return static_cast<int>(info_.image_width); }
  int height() const { return static_cast<int>(info_.image_height); }
  /// EXIF's, from 1 to 8: how the picture is turned to be seen.
  int orientation() const { return orientation_; }

  /// Begins to decode a part of the picture at `eighths` (1, 2, 4 or 8) of its size, by smaller inverse DCTs. The spans
  /// are of the smaller picture. Of what lies outside, entropy codes alone are read, and nothing of what lies below.
  void start(int eighths, Span columns, Span rows);
  /// The next row of the part: 4 bytes a pixel, red, green, blue and one without meaning.
  const uint8_t* row();
  /// Reads what is left of the file, to find damage there, too.
  void finish();

 private:
  struct Errors {
    jpeg_error_mgr manager;  // first: libjpeg knows it by this address
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
  };
  [[noreturn]] static void fail(j_common_ptr info);
  static void warn(j_common_ptr info, int level);
  static void countScans(j_common_ptr info);
  template <typename Body>
  void guarded(Body body);
  void readMarkers();
  /// Bytes that decoding keeps at a time, of the whole picture; 0 where it is read row by row.
  uint64_t coefficients();

  Errors errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
  bool supported_ = false;
  int orientation_ = 1;
  /// Of the part that the rows have: where it begins in a row of the buffer.
  size_t offset_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace kn::jpeg
