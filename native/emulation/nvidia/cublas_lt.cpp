/// cuBLASLt, played: the functions that native/cuda/nvidia/matmul.cpp calls, for float32 matrices without batches.
/// Every attribute is checked, and the emulation's loops compute.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>

#include "../device_memory.h"
#include "../loops.h"
#include "../runtime.h"

namespace kn::emulation {
namespace {

struct Operation {
  bool transposeA = false, transposeB = false, bias = false;
  const float* biasData = nullptr;
};
struct Layout {
  uint64_t rows, columns;
};
struct Preference {
  size_t workspace = 0;
  uint32_t alignment = 256;
};

/// Of the matrices of an algorithm, in its opaque words.
struct Algorithm {
  uint64_t m, n, k, alignment;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

constexpr size_t kWorkspaceBytes = 2048;

Operation& of(cublasLtMatmulDesc_t handle) { return *reinterpret_cast<Operation*>(handle); }
Layout& of(cublasLtMatrixLayout_t handle) { return *reinterpret_cast<Layout*>(handle); }
Preference& of(cublasLtMatmulPreference_t handle) { return *reinterpret_cast<Preference*>(handle); }

template <class T>
bool read(T& value, const void* from, size_t bytes) {
  if (!from || bytes != sizeof(T)) return false;
  std::memcpy(&value, from, bytes);
  return true;
}

/// D = op(A)·op(B), all column-major: the sizes, or m = 0 where they don't fit.
Algorithm sizesOf(const Operation& o, const Layout& a, const Layout& b, const Layout& d) {
  const uint64_t m = o.transposeA ? a.columns : a.rows, k = o.transposeA ? a.rows : a.columns;
  const uint64_t inner = o.transposeB ? b.columns : b.rows, n = o.transposeB ? b.rows : b.columns;
  const bool fit = k == inner && d.rows == m && d.columns == n;
  return {fit ? m : 0, n, k, 0};
}

bool isOperand(const void* data, uint64_t count, uint64_t alignment) {
  DeviceMemory& memory = DeviceMemory::instance();
  return memory.contains(data, count * sizeof(float)) && memory.deviceOf(data) == currentDevice() &&
         reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

}  // namespace
}  // namespace kn::emulation

using namespace kn::emulation;

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    default: return "CUBLAS_STATUS_EXECUTION_FAILED";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (entered() || unsafeCall()) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = reinterpret_cast<cublasLtHandle_t>(new int(0));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32) || scale != CUDA_R_32F)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  *operation = reinterpret_cast<cublasLtMatmulDesc_t>(new Operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete &of(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t name,
                                              const void* from, size_t bytes) {
  Operation& operation = of(handle);
  cublasOperation_t transposed = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  bool good = false;
  switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
    case CUBLASLT_MATMUL_DESC_TRANSB:
      good = read(transposed, from, bytes) && (transposed == CUBLAS_OP_N || transposed == CUBLAS_OP_T);
      (name == CUBLASLT_MATMUL_DESC_TRANSA ? operation.transposeA : operation.transposeB) = transposed == CUBLAS_OP_T;
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      good = read(epilogue, from, bytes) && epilogue == CUBLASLT_EPILOGUE_BIAS;
      operation.bias = true;
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: good = read(operation.biasData, from, bytes); break;
    default: break;
  }
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  if (type != CUDA_R_32F || rows == 0 || columns == 0 || leading != static_cast<int64_t>(rows))
    return CUBLAS_STATUS_INVALID_VALUE;
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{rows, columns});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &of(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete &of(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void* from,
                                                    size_t bytes) {
  Preference& preference = of(handle);
  uint32_t alignment = 0;
  switch (name) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return read(preference.workspace, from, bytes) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      if (!read(alignment, from, bytes) || alignment == 0) return CUBLAS_STATUS_INVALID_VALUE;
      preference.alignment = std::min(preference.alignment, alignment);
      return CUBLAS_STATUS_SUCCESS;
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  Algorithm algorithm = sizesOf(of(operation), of(a), of(b), of(d));
  if (requested < 1 || algorithm.m == 0 || c != d) return CUBLAS_STATUS_INVALID_VALUE;
  algorithm.alignment = of(preference).alignment;
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = of(preference).workspace >= kWorkspaceBytes ? kWorkspaceBytes : 0;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t handle, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t aLayout, const void* b, cublasLtMatrixLayout_t bLayout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t cLayout, void* d,
                              cublasLtMatrixLayout_t dLayout, const cublasLtMatmulAlgo_t* chosen, void* workspace,
                              size_t workspaceBytes, cudaStream_t stream) {
  const Operation operation = of(handle);
  Algorithm algorithm{};
  std::memcpy(&algorithm, chosen, sizeof algorithm);
  const Algorithm sizes = sizesOf(operation, of(aLayout), of(bLayout), of(dLayout));
  const auto [m, n, k, alignment] = algorithm;
  const bool same = sizes.m == m && sizes.n == n && sizes.k == k && m > 0;
  const bool scaled = *static_cast<const float*>(alpha) == 1 && *static_cast<const float*>(beta) == 0;
  const bool operands = isOperand(a, m * k, alignment) && isOperand(b, k * n, alignment) &&
                        isOperand(d, m * n, alignment) && c == d && cLayout == dLayout &&
                        (!operation.bias || isOperand(operation.biasData, m, sizeof(float)));
  const bool room = workspaceBytes == 0 || (DeviceMemory::instance().contains(workspace, workspaceBytes) &&
                                            reinterpret_cast<uintptr_t>(workspace) % 16 == 0);
  if (!same || !scaled || !operands || !room) return CUBLAS_STATUS_INVALID_VALUE;
  if (entered("cublasLtMatmul")) return CUBLAS_STATUS_EXECUTION_FAILED;
  // A column-major matrix is the transpose of a row-major one: Dᵀ = op(B)ᵀ·op(A)ᵀ.
  const kn::cuda::MatrixProduct product{static_cast<int64_t>(n), static_cast<int64_t>(m), static_cast<int64_t>(k),
                                        operation.transposeB,    operation.transposeA,    false};
  const cudaError_t status = enqueue(stream, cudaGraphNodeTypeKernel, [=] {
    if (workspaceBytes > 0) std::memset(workspace, 0xFF, workspaceBytes);
    multiply(product, static_cast<const float*>(b), static_cast<const float*>(a),
             operation.bias ? operation.biasData : nullptr, static_cast<float*>(d));
  });
  return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
