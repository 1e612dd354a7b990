#include "kernels.h"
#include "strided.cuh"

namespace kn::cuda {

/// Operands that lie alike; all threads take the same way through the choice of a kind.
template <class T>
__global__ void binaryFlat(const T* a, const T* b, T* out, int64_t count, BinaryKind kind) {
  for (int64_t i = firstItem(); i < count; i += itemStep()) {
    out[i] = fromFloat<T>(binaryValue(kind, toFloat(a[i]), toFloat(b[i])));
  }
}

__global__ void binaryStrided(op::Binary o, int64_t count) {
  for (int64_t i = firstItem(); i < count; i += itemStep()) {
    int64_t at[3];
    offsetsOf(o.walk, {o.a.axes, o.b.axes, o.out.axes}, static_cast<uint32_t>(i), at);
    const float left = loadAt(o.a.data, o.a.stored, at[0]), right = loadAt(o.b.data, o.b.stored, at[1]);
    storeAt(o.out.data, o.out.stored, at[2], binaryValue(o.kind, left, right));
  }
}

void run(const op::Binary& o, Context& context) {
  if (o.flat) {
    return forType(o.out.stored, [&]<class T>() {
      launchItems(context, o.flat, binaryFlat<T>, static_cast<const T*>(o.a.data), static_cast<const T*>(o.b.data),
                  static_cast<T*>(o.out.data), o.flat, o.kind);
    });
  }
  const int64_t count = o.walk.count();
  launchItems(context, count, binaryStrided, o, count);
}

}  // namespace kn::cuda
