#include "affine.cuh"
#include "kernels.h"

namespace kn::cuda {

/// A thread a channel.
__global__ void averageMoments(op::AverageMoments o) {
  const float share = averageShare(o.share, o.warmUp, *o.updates);
  for (int64_t c = firstItem(); c < o.channels; c += itemStep()) {
    const float center = fmaf(share, o.mean[c] - o.center[c], o.center[c]), off = o.mean[c] - center;
    o.center[c] = center;
    o.variance[c] = fmaf(share, fmaf(off, off, o.var[c]) - o.variance[c], o.variance[c]);
  }
}

template <class T, int V>
__global__ void centerRows(Planes p, const T* x, const float* center, T* y) {
  const Place place = placeOf<V>(p);
  const Affine<V> affine{loadVector<V>(center, place.channel), broadcast<V>(1), broadcast<V>(0)};
  normalizeRows(p, place, x, y, affine, false);
}

/// A block takes so many input channels, 32 bytes in a row, and all taps of their group on them.
constexpr int kChannels = 8;

__global__ void observedVarianceGradient(op::ObservedVarianceBackward o) {
  KN_SHARED(double, sums, [kItemThreads]);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t taps = o.w.h * o.w.w, in = o.w.in, outputs = o.w.out / o.groups;
  const int64_t slabs = (in + kChannels - 1) / kChannels;
  for (int64_t task = blockIdx.x; task < o.groups * slabs; task += gridDim.x) {
    const int64_t group = task / slabs, channel = task % slabs * kChannels + thread % kChannels;
    double sum = 0;
    if (channel < in) {
      for (int64_t row = thread / kChannels; row < outputs * taps; row += kItemThreads / kChannels) {
        const int64_t out = group * outputs + row / taps;
        const int64_t at = (group * outputs * taps + row) * in + channel;
        const float gradient = o.scale(out) * o.slope.data[at];
        o.dw.data[at] = gradient;
        sum += static_cast<double>(gradient) * o.w.data[at];
      }
    }
    sums[thread] = sum;
    __syncthreads();
    for (int half = kItemThreads / 2; half >= kChannels; half /= 2) {
      if (thread < half) sums[thread] += sums[thread + half];
      __syncthreads();
    }
    if (thread < kChannels && channel < in) o.finish(group * in + channel, sums[thread] / 2);
    __syncthreads();
  }
}

/// Needs and moves: 1 read of the moments, 1 read and write of the averages.
void run(const op::AverageMoments& o, Context& context) { launchItems(context, o.channels, averageMoments, o); }

/// Needs and moves: 1 read of x, 1 write of y.
void run(const op::Center& o, Context& context) {
  forPacks(
      o.x.stored, o.x.c,
      [&]<class T, int V>() {
        const Planes p = planesOf(o.x, 1, V, kMapCut);
        launch(centerRows<T, V>, p.grid(), p.threads(), 0, context.stream, p, o.x.values<T>(), o.center,
               o.y.values<T>());
      },
      o.x.data, o.y.data, o.center);
}

/// Needs and moves: 1 read of w and slope, 1 write of dw.
void run(const op::ObservedVarianceBackward& o, Context& context) {
  launchTasks(context, o.groups * ceilDivide(o.w.in, kChannels), observedVarianceGradient, o);
}

}  // namespace kn::cuda
