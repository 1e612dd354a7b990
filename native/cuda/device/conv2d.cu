#include "affine.cuh"
#include "grid.cuh"
#include "kernels.h"
#include "../nvidia/libraries.h"

/// The convolutions are cuDNN's. What is done here: weights, kept in float32, are rounded to the type of the
/// activations (6 bytes a weight and convolution) where nobody keeps them so, and images that lie row-major are brought
/// to NHWC and back.
namespace kn::cuda {

template <class T>
__global__ void castFilter(const float* from, T* to, int64_t count, bool wide) {
  constexpr int V = kWide<T>;
  const int64_t packs = wide ? count / V : 0;
  for (int64_t i = firstItem(); i < packs; i += itemStep()) store<V>(to + i * V, loadFloats<V>(from + i * V));
  for (int64_t i = packs * V + firstItem(); i < count; i += itemStep()) to[i] = fromFloat<T>(from[i]);
}

namespace {

using Scratch = std::shared_ptr<Storage>;

/// A filter as a convolution of activations of a type reads it.
struct Weights {
  const void* data;
  Scratch owner;
};

Weights weightsAs(DType type, const op::Filter& w, Context& context) {
  if (type == DType::F32) return {w.data, nullptr};
  if (w.rounded) return {w.rounded, nullptr};
  Scratch scratch = context.scratch(static_cast<size_t>(w.count()) * dtypeSize(type));
  run(op::RoundFilter{w.data, {scratch->data, w.count(), type}}, context);
  return {scratch->data, scratch};
}

/// A row-major image's place in NHWC.
struct Image {
  op::Act act;
  Scratch owner;
};

Image imageLike(const op::Act& plain, DType type, Context& context) {
  Image image{plain, context.scratch(static_cast<size_t>(plain.count()) * dtypeSize(type))};
  image.act.data = image.owner->data;
  image.act.format = Format::Activation;
  image.act.stored = type;
  return image;
}

void transfer(const op::Act& act, float* plain, bool upload, Context& context) {
  run(op::Transfer{act, {}, Format::Activation, plain, upload, false}, context);
}

/// The activation itself, unless it lies row-major.
Image imageAs(DType type, const op::Act& x, Context& context) {
  if (x.format != Format::Plain) return {x, nullptr};
  Image image = imageLike(x, type, context);
  transfer(image.act, x.values(), true, context);
  return image;
}

Convolution problemOf(Direction direction, const op::Act& x, const op::Filter& w, const op::Act& y,
                      const op::ConvShape& shape, const Context& context) {
  const bool tf32 = context.tf32 && y.stored == DType::F32;
  return {direction, y.stored, tf32, x.n, x.c, x.h, x.w, w.out, w.h, w.w, y.h, y.w, shape};
}

}  // namespace

void run(const op::RoundFilter& o, Context& context) {
  const int64_t count = o.to.count;
  const bool wide = aligned16(o.from) && aligned16(o.to.data);
  const auto cast = [&]<class T>(T* to) {
    launchItems(context, wide ? ceilDivide(count, kWide<T>) : count, castFilter<T>, o.from, to, count, wide);
  };
  if (o.to.stored == DType::F16) {
    cast(o.to.values<Half>());
  } else {
    cast(o.to.values<Brain>());
  }
}

void run(const op::Conv2d& o, Context& context) {
  const DType type = o.y.stored;
  const Image x = imageAs(type, o.x, context);
  const Weights w = weightsAs(type, o.w, context);
  context.libraries->convolve(context, problemOf(Direction::Forward, o.x, o.w, o.y, o.shape, context), x.act.data,
                              w.data, o.y.data);
  // In place, as a normalization that doesn't scale: without statistics, which are 0 then, and an epsilon of 1.
  if (o.bias || o.relu) applyNorm(o.y, o.y, 1, {nullptr, nullptr, nullptr, o.bias, 1, 1, o.relu}, context);
}

void run(const op::Conv2dBackwardData& o, Context& context) {
  const DType type = o.dy.stored;
  const bool plain = o.dx.format == Format::Plain;
  const Image dx = plain ? imageLike(o.dx, type, context) : Image{o.dx, nullptr};
  const Weights w = weightsAs(type, o.w, context);
  context.libraries->convolve(context, problemOf(Direction::BackwardData, o.dx, o.w, o.dy, o.shape, context), o.dy.data,
                              w.data, dx.act.data);
  if (plain) transfer(dx.act, o.dx.values(), false, context);
}

void run(const op::Conv2dBackwardWeights& o, Context& context) {
  const DType type = o.dy.stored;
  const Image x = imageAs(type, o.x, context);
  const auto convolve = [&](void* dw) {
    context.libraries->convolve(context, problemOf(Direction::BackwardWeights, o.x, o.dw, o.dy, o.shape, context),
                                x.act.data, o.dy.data, dw);
  };
  if (type == DType::F32) return convolve(o.dw.data);
  if (o.rounded) return convolve(o.rounded);
  // cuDNN's engines that write a float32 gradient of shorter activations are compiled at run time, want a multiple of
  // eight channels, and on newer devices don't split a long sum between multiprocessors, as layers of few channels need
  // it. So the gradient, summed in float32, is rounded once, and widened here or where it is added.
  const int64_t count = o.dw.count();
  const Scratch rough = context.scratch(static_cast<size_t>(count) * dtypeSize(type));
  convolve(rough->data);
  transfer({rough->data, 1, 1, 1, count, Format::Activation, type}, o.dw.data, false, context);
}

}  // namespace kn::cuda
