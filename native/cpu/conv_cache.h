#pragma once
#include <dnnl.hpp>

#include <cstddef>
#include <list>
#include <memory>
#include <unordered_map>
#include <utility>

#include "../core/ops/conv2d.h"

namespace kn::cpu {

/// All that a convolution's code depends on. `shape` has the padding that the output needs, which may be negative below
/// and on the right: where the stride doesn't reach the last rows, they are cut off.
struct ConvProblem {
  enum class Kind : uint8_t { Forward, BackwardData, BackwardWeights };
  Kind kind;
  Format source;  ///< Activation or Plain
  int64_t n, c, h, w;
  int64_t out, outH, outW;
  int64_t kernelH, kernelW;
  op::ConvShape shape;
  bool biased = false;  ///< forward: whether a bias is added

  bool operator==(const ConvProblem&) const = default;
};

/// oneDNN's convolutions, built once a problem, because building takes up to 5 ms; the least recently used are dropped.
/// For the executor thread only.
class ConvCache {
 public:
  static constexpr size_t kCapacity = 256;

  ConvCache();
  ~ConvCache();
  ConvCache(const ConvCache&) = delete;

  /// The operands lie in the device's layouts (layout.h). The problem's kind says which one is written: const or not.
  void run(const ConvProblem& problem, const float* source, const float* weights, const float* destination,
           const float* bias = nullptr);
  size_t size() const { return plans_.size(); }

 private:
  struct Plan;
  struct Hash {
    size_t operator()(const ConvProblem& problem) const;
  };
  using Entry = std::pair<ConvProblem, std::unique_ptr<Plan>>;

  Plan& plan(const ConvProblem& problem);

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::list<Entry> plans_;  // the last used first
  std::unordered_map<ConvProblem, std::list<Entry>::iterator, Hash> index_;
  /// Room for the reordered operands of one convolution at a time.
  std::unique_ptr<std::byte, void (*)(void*)> scratch_;
  size_t scratchBytes_ = 0;
};

}  // namespace kn::cpu
