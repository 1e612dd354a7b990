#pragma once
#include <cudnn.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

/// The descriptors of the played cuDNN: what has been set, and whether it may be. A violation throws; the functions of
/// the library turn it into a status and a reason.
namespace kn::emulation::dnn {

class Refusal : public std::runtime_error {
 public:
  Refusal(cudnnStatus_t status, const std::string& reason) : std::runtime_error(reason), status(status) {}
  const cudnnStatus_t status;
};

/// Throws unless `condition` holds.
inline void demand(bool condition, const std::string& reason, cudnnStatus_t status = CUDNN_STATUS_BAD_PARAM) {
  if (!condition) throw Refusal(status, reason);
}

struct Descriptor;
/// What a cudnnBackendDescriptor_t points to. As in cuDNN, a part lives on in what it has become a part of.
using Handle = std::shared_ptr<Descriptor>;

struct Attribute {
  cudnnBackendAttributeType_t type;
  int64_t count;
  std::vector<std::byte> bytes;
  std::vector<Handle> parts;  ///< where the values are descriptors
};

struct Descriptor {
  cudnnBackendDescriptorType_t type;
  bool finalized = false;
  std::map<cudnnBackendAttributeName_t, Attribute> attributes;
  int64_t engine = -1;  ///< of an engine, its configuration and its plan
};

Descriptor& descriptorOf(cudnnBackendDescriptor_t handle);
/// Notes an attribute that may be set, of the right type and count.
void setAttribute(Descriptor& descriptor, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  int64_t count, const void* data);
/// Throws where an attribute is missing that the type needs.
void requireComplete(const Descriptor& descriptor);

template <class T>
std::vector<T> valuesOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name) {
  const auto found = descriptor.attributes.find(name);
  if (found == descriptor.attributes.end()) return {};
  std::vector<T> values(static_cast<size_t>(found->second.count));
  std::copy_n(found->second.bytes.data(), found->second.bytes.size(), reinterpret_cast<std::byte*>(values.data()));
  return values;
}
template <class T>
T valueOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name) {
  return valuesOf<T>(descriptor, name).at(0);
}
/// A descriptor that is the value of an attribute; it has to be finalized.
const Descriptor& partOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name);
/// The same, of a type.
const Descriptor& partOf(const Descriptor& descriptor, cudnnBackendAttributeName_t name,
                         cudnnBackendDescriptorType_t type);

/// A tensor: four sizes in the order n, c, h, w; packed NHWC.
struct TensorOf {
  explicit TensorOf(const Descriptor& descriptor);

  int64_t id, n, c, h, w, alignment;
  cudnnDataType_t type;
  bool byValue;

  int64_t count() const { return n * c * h * w; }
  size_t elementBytes() const { return type == CUDNN_DATA_FLOAT ? 4 : 2; }
  size_t bytes() const { return static_cast<size_t>(count()) * elementBytes(); }
  bool sameSizes(const TensorOf& other) const { return n == other.n && c == other.c && h == other.h && w == other.w; }
};

}  // namespace kn::emulation::dnn
