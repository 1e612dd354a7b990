#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "allocator.h"
#include "error.h"

namespace kn {

class Device;

/// Tensors are float32, int32 or uint8; float16 and bfloat16 are how a device may store activations (Tensor::stored).
enum class DType : uint8_t { F32, I32, U8, F16, BF16 };

constexpr size_t dtypeSize(DType type) {
  return type == DType::U8 ? 1 : type == DType::F16 || type == DType::BF16 ? 2 : 4;
}
constexpr const char* dtypeName(DType type) {
  switch (type) {
    case DType::F32: return "float32";
    case DType::I32: return "int32";
    case DType::U8: return "uint8";
    case DType::F16: return "float16";
    case DType::BF16: return "bfloat16";
  }
  return "unknown";
}

/// What a tensor is for; the device chooses the physical layout by it. Shapes are logical: activations [N, C, H, W]
/// or [N, C], filters [out, in, kh, kw].
enum class Format : uint8_t {
  Plain,       ///< row-major
  Activation,  ///< features of samples; every layout keeps a sample's values together
  Filter,      ///< weights of a convolution
};

constexpr const char* formatName(Format format) {
  return format == Format::Plain ? "plain" : format == Format::Activation ? "activation" : "filter";
}

/// Up to five sizes, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 5;
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return sizes_[axis]; }
  int64_t& operator[](int axis) { return sizes_[axis]; }
  void push(int64_t size);
  int64_t count() const;
  bool operator==(const Shape& other) const;
  std::string str() const;  ///< "[2, 3]"

 private:
  int rank_ = 0;
  int64_t sizes_[kMaxRank] = {};
};

/// A block of device memory; goes back to its pool with its last owner.
class Storage {
 public:
  Storage(Device* device, std::shared_ptr<Allocator> allocator, void* data, size_t bytes)
      : device(device), data(data), bytes(bytes), allocator_(std::move(allocator)) {}
  ~Storage() { allocator_->free(data); }
  Storage(const Storage&) = delete;

  Device* const device;
  void* const data;
  const size_t bytes;
  /// Of a filter that was uploaded to a device of shorter activations: its values in their type, for convolutions.
  /// Whoever writes the filter writes them too (`written` of ops/memory.h). Else null.
  std::shared_ptr<Storage> rounded;
  const Allocator* pool() const { return allocator_.get(); }

 private:
  std::shared_ptr<Allocator> allocator_;
};

/// A shaped view of device memory. Copies share the memory.
struct Tensor {
  std::shared_ptr<Storage> storage;
  Shape shape;
  DType dtype = DType::F32;
  DType stored = DType::F32;  ///< of the values in memory; differs from dtype where the device keeps activations short
  Format format = Format::Plain;
  int64_t offset = 0;  ///< in bytes
  /// How many virtual samples fit behind, in memory that belongs to this tensor alone.
  int64_t virtualSamples = 0;

  explicit operator bool() const { return storage != nullptr; }
  Device& device() const { return *storage->device; }
  int64_t count() const { return shape.count(); }
  template <class T = float>
  T* data() const {
    return reinterpret_cast<T*>(static_cast<char*>(storage->data) + offset);
  }
  /// Samples [from, from + count) of an activation, sharing memory.
  Tensor samples(int64_t from, int64_t count) const;
};

}  // namespace kn
