#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "reader.h"
#include "resize.h"

namespace kn::jpeg {

/// A rectangle of a picture as it is seen; its sides may lie within pixels.
struct Box {
  double left, top, width, height;
};

/// An encoded image on its way to planes of pixels. First its header is read; whoever wants it says then which part of
/// it is to be decoded.
class Job {
 public:
  /// A file.
  explicit Job(std::string path) : path_(std::move(path)) {}
  /// Bytes, which must outlive it.
  Job(const uint8_t* bytes, size_t length) : bytes_(bytes), length_(length) {}

  /// @returns whether it is a JPEG that can be decoded here
  bool open();
  /// Pixels of the picture as it is seen.
  int width() const;
  int height() const;

  /// Decodes a part into three planes of `size` × `size` bytes.
  /// @param beyond whether pixels around the part count for those at its rim; else it is as if it were cut out first
  /// @param whole look for damage in the whole file
  void decode(const Box& part, bool beyond, bool whole, int size, uint8_t* into);

 private:
  void load();
  bool turned() const { return reader_->orientation() >= 5; }

  const std::string path_;
  std::unique_ptr<uint8_t[]> file_;
  const uint8_t* bytes_ = nullptr;
  size_t length_ = 0;
  std::unique_ptr<Reader> reader_;
};

}  // namespace kn::jpeg
