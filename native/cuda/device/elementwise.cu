#include "grid.cuh"
#include "kernels.h"
#include "tensor_batch.cuh"

/// Each value is read once and written once.
namespace kn::cuda {

struct AddedItem {
  const void *a, *b;
  float* out;
  int32_t count;
  int32_t firstBlock;
  DType aStored, bStored;
};

namespace {

template <int V, class Function, class... In>
__device__ __forceinline__ Pack<V> mapPack(const Function& f, const In&... in) {
  Pack<V> out;
#pragma unroll
  for (int i = 0; i < V; ++i) out[i] = f(in[i]...);
  return out;
}

/// out = f(in...), value by value; out may be one of the inputs.
template <int V, class Function, class T, class... In>
__device__ __forceinline__ void mapValues(const Function& f, int64_t count, T* out, const In*... in) {
  const int64_t packs = count / V;
  for (int64_t i = firstItem(); i < packs; i += itemStep()) {
    store<V>(out + i * V, mapPack<V>(f, load<V>(in + i * V)...));
  }
  const int64_t rest = packs * V + firstItem();
  if (V > 1 && rest < count) out[rest] = fromFloat<T>(f(toFloat(in[rest])...));
}

}  // namespace

template <class T, int V>
__global__ void addValues(const T* a, const T* b, T* out, int64_t count) {
  mapValues<V>([](float left, float right) { return left + right; }, count, out, a, b);
}

template <class T, int V>
__global__ void scaleValues(const T* x, T* out, int64_t count, float constant, const float* by) {
  const float factor = by ? constant * *by : constant;
  mapValues<V>([factor](float value) { return factor * value; }, count, out, x);
}

// The comparisons are chosen so that a NaN passes, forward and backward.
template <class T, int V>
__global__ void reluForward(const T* x, T* y, int64_t count) {
  mapValues<V>([](float value) { return value < 0 ? 0.0f : value; }, count, y, x);
}

template <class T, int V>
__global__ void reluBackward(const T* y, const T* dy, T* dx, int64_t count) {
  mapValues<V>([](float value, float gradient) { return value <= 0 ? 0.0f : gradient; }, count, dx, y, dy);
}

/// All threads take the same way through the choice of a kind.
template <class T, int V>
__global__ void mapForward(const T* x, T* y, int64_t count, MapKind kind, float a, float b) {
  mapValues<V>([=](float value) { return mapValue(kind, value, a, b); }, count, y, x);
}

template <class T, int V>
__global__ void mapSlopes(const T* at, const T* dy, T* dx, int64_t count, MapKind kind, float a, float b) {
  mapValues<V>([=](float value, float gradient) { return gradient * mapSlope(kind, value, a, b); }, count, dx, at, dy);
}

namespace {

/// Calls `body.template operator()<T, V>()`. Any count goes in packs: what is left over goes value by value.
template <class Body, class... Data>
void forValues(DType stored, const Body& body, const Data*... data) {
  forPacks(stored, 0, body, data...);
}

}  // namespace

void run(const op::Add& o, Context& context) {
  forValues(
      o.out.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.out.count, V), addValues<T, V>, o.a.values<T>(), o.b.values<T>(),
                    o.out.values<T>(), o.out.count);
      },
      o.a.data, o.b.data, o.out.data);
}

namespace {

template <int V>
__device__ __forceinline__ void addPair(const AddedItem& t, int64_t at) {
  Pack<V> sum = loadStored<V>(t.a, t.aStored, at);
  if (t.b) {
    const Pack<V> other = loadStored<V>(t.b, t.bStored, at);
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] += other[i];
  }
  store<V>(t.out + at, sum);
}

}  // namespace

/// 12 bytes a value, 2 less for each that is stored in 16 bits.
__global__ void addEach(TensorBatch<AddedItem> batch) {
  constexpr int V = kWide<float>;
  const int block = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const AddedItem t = batch.tensors[tensorOf(batch, block)];
  const bool aligned = (addressOf(t.a) | addressOf(t.b) | addressOf(t.out)) % 16 == 0;
  const Chunk chunk = chunkOf(block - t.firstBlock, t.count, aligned);
  for (int64_t at = chunk.begin + thread * V; at < chunk.packsEnd; at += kItemThreads * V) addPair<V>(t, at);
  for (int64_t at = chunk.packsEnd + thread; at < chunk.end; at += kItemThreads) addPair<1>(t, at);
}

void run(const op::AddEach& o, Context& context) {
  const auto make = [](const op::AddedPair& p, int32_t firstBlock) {
    return AddedItem{p.a.data, p.b.data, p.out, p.count, firstBlock, p.a.stored, p.b.stored};
  };
  forBatches<AddedItem>(o.pairs, make, [&](const TensorBatch<AddedItem>& batch, int64_t blocks) {
    launch(addEach, dim3(static_cast<unsigned>(blocks)), dim3(kItemThreads), 0, context.stream, batch);
  });
}

void run(const op::Scale& o, Context& context) {
  forValues(
      o.out.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.out.count, V), scaleValues<T, V>, o.x.values<T>(), o.out.values<T>(),
                    o.out.count, o.factor, o.by);
      },
      o.x.data, o.out.data);
}

void run(const op::Relu& o, Context& context) {
  forValues(
      o.y.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.y.count, V), reluForward<T, V>, o.x.values<T>(), o.y.values<T>(), o.y.count);
      },
      o.x.data, o.y.data);
}

void run(const op::ReluBackward& o, Context& context) {
  forValues(
      o.dx.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.dx.count, V), reluBackward<T, V>, o.y.values<T>(), o.dy.values<T>(),
                    o.dx.values<T>(), o.dx.count);
      },
      o.y.data, o.dy.data, o.dx.data);
}

void run(const op::Map& o, Context& context) {
  forValues(
      o.y.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.y.count, V), mapForward<T, V>, o.x.values<T>(), o.y.values<T>(), o.y.count,
                    o.kind, o.a, o.b);
      },
      o.x.data, o.y.data);
}

void run(const op::MapBackward& o, Context& context) {
  forValues(
      o.dx.stored,
      [&]<class T, int V>() {
        launchItems(context, ceilDivide(o.dx.count, V), mapSlopes<T, V>, o.at.values<T>(), o.dy.values<T>(),
                    o.dx.values<T>(), o.dx.count, o.kind, o.a, o.b);
      },
      o.at.data, o.dy.data, o.dx.data);
}

}  // namespace kn::cuda
