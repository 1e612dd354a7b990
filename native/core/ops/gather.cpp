#include "gather.h"

#include "checks.h"

namespace kn {

Batch gather(const GatherInput& in) {
  constexpr const char* fn = "gather";
  require(static_cast<bool>(in.images), ErrorCode::Disposed, fn, ": images is disposed or missing");
  Device& device = in.images.device();
  require(in.images.dtype == DType::U8, ErrorCode::DTypeMismatch, fn, ": images must be uint8, got ",
          dtypeName(in.images.dtype));
  const Shape& shape = in.images.shape;
  require(shape.rank() == 4, ErrorCode::ShapeMismatch, fn, ": images must have shape [count, C, H, W], got ",
          shape.str());
  const int32_t* labels = integers(device, in.labels, shape[0], {fn, "labels"});
  checkShape(in.labels, {shape[0]}, {fn, "labels"});
  require(in.batch >= 1, ErrorCode::InvalidArgument, fn, ": batch must be at least 1, got ", in.batch);
  require(in.first >= 0, ErrorCode::InvalidArgument, fn, ": first must not be negative, got ", in.first);
  require(in.pad >= 0, ErrorCode::InvalidArgument, fn, ": pad must not be negative, got ", in.pad);
  require(in.cutout >= 0, ErrorCode::InvalidArgument, fn, ": cutout must not be negative, got ", in.cutout);
  checkFinite(in.scale, {fn, "scale"});
  checkFloat(in.mean, {fn, "mean"});
  checkDevice(device, in.mean, {fn, "mean"});
  checkShape(in.mean, {shape[1], shape[2], shape[3]}, {fn, "mean"});

  op::Gather launch{};
  launch.images = in.images.data<uint8_t>();
  launch.labels = labels;
  launch.mean = in.mean.data();
  launch.indices = integers(device, in.indices, 1, {fn, "indices"});
  launch.cursor = integers(device, in.cursor, 1, {fn, "cursor"});
  launch.imageCount = shape[0];
  launch.indexCount = in.indices.count();
  if (in.augment) launch.random = randomOf(device, in.random, {fn, "generator"});
  Batch out{device.empty({in.batch, shape[1], shape[2], shape[3]}, DType::F32, device.imageFormat()),
            device.empty({in.batch}, DType::I32, Format::Plain)};
  launch.x = {out.images.data<void>(), in.batch, shape[1], shape[2], shape[3], out.images.format, out.images.stored};
  launch.y = out.labels.data<int32_t>();
  launch.first = in.first;
  launch.pad = in.augment ? in.pad : 0;
  launch.cutout = in.augment ? in.cutout : 0;
  launch.scale = static_cast<float>(in.scale);
  launch.augment = in.augment;
  device.launch(launch);
  return out;
}

}  // namespace kn
