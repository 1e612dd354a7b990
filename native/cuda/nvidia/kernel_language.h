#pragma once
/// How nvcc says what kernels leave open (device/gpu.h).
#include "../runtime/check.h"

#define KN_SHARED(type, name, size) __shared__ type name size

namespace kn::cuda {

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, A&&... arguments) {
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(arguments)...);
  check(cudaGetLastError(), "kernel launch");
}

}  // namespace kn::cuda
