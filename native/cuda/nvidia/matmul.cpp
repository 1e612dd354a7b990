#include "matmul.h"

#include <algorithm>
#include <utility>

#include "plan_key.h"

namespace kn::cuda {
namespace {

/// What NVIDIA recommends for Hopper; other devices need less.
constexpr size_t kWorkspaceLimit = size_t{32} << 20;

BlasOwned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> makeLayout(int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  checkBlas(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                       rows),
            "cublasLtMatrixLayoutCreate");
  return BlasOwned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>(layout);
}

template <class T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name, const T& value) {
  checkBlas(cublasLtMatmulDescSetAttribute(operation, name, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, const T& value) {
  checkBlas(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)),
            "cublasLtMatmulPreferenceSetAttribute");
}

}  // namespace

void checkBlas(cublasStatus_t status, const char* call) {
  require(status == CUBLAS_STATUS_SUCCESS,
          status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorCode::OutOfMemory : ErrorCode::DeviceFailed, call, ": ",
          cublasLtGetStatusString(status));
}

void requireBlasVersion(size_t version) {
  require(version >= 120000, ErrorCode::DeviceUnavailable, "cuBLASLt ", version / 10000, '.', version / 100 % 100, '.',
          version % 100, " is too old: version 12 or newer is needed");
}

MatrixProducts::MatrixProducts() {
  cublasLtHandle_t handle = nullptr;
  checkBlas(cublasLtCreate(&handle), "cublasLtCreate");
  handle_.reset(handle);
}

size_t MatrixProducts::Hash::operator()(const Key& key) const {
  const auto& o = key.problem;
  return hashOf(o.m, o.n, o.k, o.transposeA, o.transposeB, o.tf32, key.bias, key.alignment);
}

/// cuBLASLt's matrices are column-major, which makes a row-major one its own transpose: outᵀ = bᵀ·aᵀ. That also lets a
/// value of the bias go with each row, as the epilogue wants it.
MatrixProducts::Plan MatrixProducts::makePlan(const Key& key, const float* bias) const {
  const MatrixProduct& o = key.problem;
  Plan plan{};
  cublasLtMatmulDesc_t operation = nullptr;
  checkBlas(
      cublasLtMatmulDescCreate(&operation, o.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "cublasLtMatmulDescCreate");
  plan.operation.reset(operation);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, o.transposeB ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, o.transposeA ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (bias) {
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  plan.b = o.transposeB ? makeLayout(o.k, o.n) : makeLayout(o.n, o.k);
  plan.a = o.transposeA ? makeLayout(o.m, o.k) : makeLayout(o.k, o.m);
  plan.out = makeLayout(o.n, o.m);

  cublasLtMatmulPreference_t raw = nullptr;
  checkBlas(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const BlasOwned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference(raw);
  set(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceLimit);
  for (const auto operand : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(raw, operand, key.alignment);
  }
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_.get(), operation, plan.b.get(), plan.a.get(),
                                                               plan.out.get(), plan.out.get(), raw, 1, &result, &found);
  require(status == CUBLAS_STATUS_SUCCESS && found > 0, ErrorCode::DeviceUnavailable,
          "cuBLASLt offers no algorithm for the product of [", o.m, ", ", o.k, "] and [", o.k, ", ", o.n,
          "]: ", cublasLtGetStatusString(status));
  plan.algorithm = result.algo;
  plan.workspaceBytes = result.workspaceSize;
  return plan;
}

void MatrixProducts::run(Context& context, const MatrixProduct& problem, const float* a, const float* b,
                         const float* bias, float* out) {
  const Key key{problem, bias != nullptr, static_cast<uint32_t>(alignmentOf(256, a, b, bias, out))};
  auto known = plans_.find(key);
  if (known == plans_.end()) known = plans_.emplace(key, makePlan(key, bias)).first;
  const Plan& plan = known->second;
  if (bias) set(plan.operation.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const auto workspace = plan.workspaceBytes > 0 ? context.scratch(plan.workspaceBytes) : nullptr;
  const float one = 1, zero = 0;
  checkBlas(cublasLtMatmul(handle_.get(), plan.operation.get(), &one, b, plan.b.get(), a, plan.a.get(), &zero, out,
                           plan.out.get(), out, plan.out.get(), &plan.algorithm, workspace ? workspace->data : nullptr,
                           plan.workspaceBytes, context.stream),
            "cublasLtMatmul");
}

}  // namespace kn::cuda
