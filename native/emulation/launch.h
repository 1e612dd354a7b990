#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace kn::emulation {

/// A kernel with its arguments, ready to run.
struct Launch {
  const void* kernel = nullptr;
  dim3 grid, block;
  size_t shared = 0;

  virtual ~Launch() = default;
  /// What one thread does.
  virtual void thread() const = 0;
  virtual std::vector<std::span<const std::byte>> arguments() const = 0;
  /// Bytes of each argument that belong to a value have all bits set; the gaps between, where anything may lie, none.
  virtual std::vector<std::vector<std::byte>> meaning() const = 0;
  /// The mangled name, which is also the name of the entry in nvcc's PTX.
  std::string symbol() const;
  /// The name as the source has it.
  std::string name() const;
};

template <class... P>
struct KernelCall final : Launch {
  template <class... A>
  KernelCall(void (*function)(P...), A&&... values)
      : function(function), values(static_cast<P>(std::forward<A>(values))...) {}

  void thread() const override { std::apply(function, values); }
  std::vector<std::span<const std::byte>> arguments() const override {
    return std::apply(
        [](const auto&... value) {
          return std::vector<std::span<const std::byte>>{std::as_bytes(std::span(&value, 1))...};
        },
        values);
  }
  std::vector<std::vector<std::byte>> meaning() const override { return {meaningOf<P>()...}; }

  template <class T>
  static std::vector<std::byte> meaningOf() {
    std::vector<std::byte> bytes(sizeof(T), std::byte{0xFF});
    // GCC 12 clears half of the first pointer, too, of an array that is long.
    __builtin_clear_padding(reinterpret_cast<T*>(bytes.data()));
    return bytes;
  }

  void (*function)(P...);
  std::tuple<P...> values;
};

/// Enqueues the kernel; fails as the CUDA runtime does where the shape is not allowed.
cudaError_t enqueueLaunch(std::shared_ptr<Launch> launch, cudaStream_t stream);

/// Runs all blocks and returns when they are done.
void runLaunch(const Launch& launch);

}  // namespace kn::emulation
