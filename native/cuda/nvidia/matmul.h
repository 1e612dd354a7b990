#pragma once
#include <cublasLt.h>

#include <memory>
#include <type_traits>
#include <unordered_map>

#include "../runtime/check.h"
#include "libraries.h"

/// Products of float32 matrices by cuBLASLt.
namespace kn::cuda {

/// Throws with cuBLASLt's name of a failure.
void checkBlas(cublasStatus_t status, const char* call);
/// Throws DeviceUnavailable, with the version, where cuBLASLt is older than 12.
void requireBlasVersion(size_t version);

/// An owner of what cublasLt…Create hands out.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct BlasDestroy {
  void operator()(Handle handle) const { destroy(handle); }
};
template <class Handle, cublasStatus_t (*destroy)(Handle)>
using BlasOwned = std::unique_ptr<std::remove_pointer_t<Handle>, BlasDestroy<Handle, destroy>>;

class MatrixProducts {
 public:
  MatrixProducts();
  void run(Context& context, const MatrixProduct& problem, const float* a, const float* b, const float* bias,
           float* out);

 private:
  /// Algorithms are chosen for operands that are aligned so.
  struct Key {
    MatrixProduct problem;
    bool bias;
    uint32_t alignment;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Plan {
    BlasOwned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation;
    BlasOwned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> a, b, out;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspaceBytes;
  };

  Plan makePlan(const Key& key, const float* bias) const;

  BlasOwned<cublasLtHandle_t, cublasLtDestroy> handle_;
  std::unordered_map<Key, Plan, Hash> plans_;
};

}  // namespace kn::cuda
