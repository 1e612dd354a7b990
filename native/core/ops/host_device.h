#pragma once

/// Marks functions that the kernels of every device use.
#ifdef __CUDACC__
#define KN_HOST_DEVICE __host__ __device__
#else
#define KN_HOST_DEVICE
#endif
