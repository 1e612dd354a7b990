#pragma once
#include <cstdint>
#include <vector>

#include "../cuda/nvidia/libraries.h"

/// Plain loops for what the device leaves to libraries. They run on the calling thread and the workers; the results do
/// not depend on how many there are.
namespace kn::emulation {

/// Reads and writes that convert. Rows of `channels` values are padded with zeros to whole vectors.
std::vector<float> loadRows(const void* from, DType type, int64_t rows, int64_t channels);
void storeRows(const std::vector<float>& from, DType type, int64_t rows, int64_t channels, void* to);
/// The length of such a row.
int64_t paddedRow(int64_t channels);

void convolve(const cuda::Convolution& problem, const void* a, const void* b, void* out);
void multiply(const cuda::MatrixProduct& problem, const float* a, const float* b, const float* bias, float* out);

struct NormForward {
  const void* x;
  const float *gamma, *beta;
  void* y;
  float *mean, *rstd;
};

struct NormBackward {
  const void *x, *dy;
  const float *gamma, *mean, *rstd;
  void* dx;
  float *dgamma, *dbeta;
};

void batchNorm(const cuda::DnnBatchNorm& problem, float epsilon, const NormForward& at);
void batchNormBackward(const cuda::DnnBatchNorm& problem, const NormBackward& at);

}  // namespace kn::emulation
