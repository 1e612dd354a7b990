#pragma once
#include <cudnn.h>

#include <array>
#include <concepts>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../runtime/check.h"

/// cuDNN's graphs through its backend API: descriptors, operations, and the plans that its heuristics propose.
namespace kn::cuda::dnn {

/// Throws with cuDNN's own text of a failed call.
void check(cudnnStatus_t status, const char* call);

/// "9.24.0"; how a version is written as a number differs before and after cuDNN 9.
std::string versionText(size_t version);
/// Throws DeviceUnavailable, with the version, where cuDNN is older than 9.
void requireVersion(size_t version);

/// A descriptor of the backend API; move-only.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &descriptor_), "cudnnBackendCreateDescriptor");
  }
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor() {
    if (descriptor_) cudnnBackendDestroyDescriptor(descriptor_);
  }

  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* data);
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<const int64_t> values);
  Descriptor& set(cudnnBackendAttributeName_t name, int64_t value) { return set(name, CUDNN_TYPE_INT64, 1, &value); }
  Descriptor& set(cudnnBackendAttributeName_t name, float value) { return set(name, CUDNN_TYPE_FLOAT, 1, &value); }
  /// Constrained, because an array would rather turn into a bool than into a span.
  Descriptor& set(cudnnBackendAttributeName_t name, std::same_as<bool> auto value) {
    return set(name, CUDNN_TYPE_BOOLEAN, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnDataType_t value) {
    return set(name, CUDNN_TYPE_DATA_TYPE, 1, &value);
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.descriptor_);
  }
  Descriptor& finalize();
  /// The first `count` values, or as many as there are.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, void* data) const;
  int64_t getInt(cudnnBackendAttributeName_t name) const;

  cudnnBackendDescriptor_t handle() const { return descriptor_; }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

/// Where plans are to run: on the device of a handle, or on one that need not be there.
struct Target {
  cudnnHandle_t handle = nullptr;
  const Descriptor* properties = nullptr;  ///< where there is no handle
};

/// The properties of a device, from cuDNN's JSON. Needs cuDNN 9.8.
Descriptor deviceProperties(const std::string& json);

/// Which engines may be used.
struct Rules {
  bool tensorCores = true;  ///< for float32 they round products to TF32
  bool deterministic = true;
};

/// Device memory, or a value on the host, by the id of the tensor that it is for.
struct Binding {
  int64_t id;
  void* data;
};

/// An engine that is set up for a graph; ready to run.
class Plan {
 public:
  Plan(const Target& target, Descriptor config);

  size_t workspaceBytes() const { return workspaceBytes_; }
  int64_t engine() const { return engine_; }
  void execute(cudnnHandle_t handle, std::span<const Binding> bindings, void* workspace) const;

 private:
  Descriptor config_, plan_;
  size_t workspaceBytes_ = 0;
  int64_t engine_ = -1;
};

/// Sizes of a tensor in cuDNN's order: n, c, h, w. Memory is NHWC (and KRSC).
using Sizes = std::array<int64_t, 4>;

/// Operations on tensors, built up one by one. What the methods return lives as long as the graph.
class Graph {
 public:
  explicit Graph(std::string name) : name_(std::move(name)) {}

  /// Memory that is bound to `id` when a plan runs, aligned to `alignment` bytes.
  const Descriptor& tensor(int64_t id, cudnnDataType_t type, const Sizes& sizes, int64_t alignment = 16);
  /// A float32 on the host, bound to `id` when a plan runs.
  const Descriptor& value(int64_t id);
  /// A descriptor of any kind that the graph keeps.
  Descriptor& keep(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(type); }
  /// An operation with everything set.
  void add(Descriptor operation);

  /// Up to `limit` plans as cuDNN's heuristics rank them, or else its fallbacks; those of rank `first` and after.
  /// Throws DeviceUnavailable, with cuDNN's reasons, where there is none.
  std::vector<Plan> plans(const Target& target, const Rules& rules, size_t limit, size_t first = 0) const;

 private:
  Descriptor& newTensor(int64_t id, cudnnDataType_t type, const Sizes& sizes, int64_t alignment);
  Descriptor finish(const Target& target) const;

  std::string name_;
  std::deque<Descriptor> parts_;
  std::vector<Descriptor> operations_;
};

}  // namespace kn::cuda::dnn
