#pragma once
#include <deque>
#include <functional>
#include <unordered_map>
#include <vector>

#include "dnn_graph.h"
#include "libraries.h"

/// The graphs that the networks run, and the plans that were chosen for them.
namespace kn::cuda::dnn {

/// The tensors of the graphs, as Libraries' methods name them.
namespace id {
enum : int64_t { A = 1, B, Out, X, Dy, Gamma, Beta, Epsilon, Mean, Rstd, Y, Dx, Dgamma, Dbeta };
}  // namespace id

/// `Out` of a weight gradient has the type of the activations: cuDNN sums in float32, and rounds once.
Graph convolutionGraph(const Convolution& problem, int64_t alignment);
/// Without ReLU: cuDNN 9.24 has no engine for normalization and ReLU in one graph unless peers of other GPUs take part.
Graph batchNormGraph(const DnnBatchNorm& problem, bool backward);

/// Plans by problem, made at the first use. None is ever dropped: a recorded CUDA graph may go on using its kernels.
class Plans {
 public:
  /// Milliseconds of a run, or infinity where a plan fails.
  using Timer = std::function<float(const Plan&)>;

  /// The plans of a problem: one is in use, and if it fails, the next.
  class Choice {
   public:
    const Plan& current() const { return plans_[current_]; }
    /// Whether there is another one, which is the current one then.
    bool next();

   private:
    friend class Plans;
    using More = std::function<std::vector<Plan>(size_t limit, size_t first)>;
    Choice(More more, size_t limit, const Timer& timer);

    const More more_;
    std::deque<Plan> plans_;
    size_t current_ = 0;
  };

  Plans(const Target& target, bool deterministic) : target_(target), deterministic_(deterministic) {}

  /// `alignment`: a power of two that divides all addresses. With a timer, the fastest of cuDNN's first proposals comes
  /// first; else cuDNN's ranks count.
  Choice& convolution(const Convolution& problem, int64_t alignment = 16, const Timer& timer = nullptr);
  Choice& batchNorm(const DnnBatchNorm& problem, bool backward);

 private:
  template <class Problem>
  struct Key {
    Problem problem;
    int64_t variant;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key<Convolution>& key) const;
    size_t operator()(const Key<DnnBatchNorm>& key) const;
  };

  Target target_;
  bool deterministic_;
  std::unordered_map<Key<Convolution>, Choice, Hash> convolutions_;
  std::unordered_map<Key<DnnBatchNorm>, Choice, Hash> batchNorms_;
};

}  // namespace kn::cuda::dnn
