#include "collective.h"

namespace kn {

Tensor allGather(const std::vector<Tensor>& parts, const std::shared_ptr<Collective>& group) {
  require(!parts.empty(), ErrorCode::InvalidArgument, "allGather: parts must not be empty");
  int64_t count = 0;
  for (const Tensor& part : parts) {
    checkFloat(part, {"allGather", "parts"});
    checkDevice(parts[0].device(), part, {"allGather", "parts"});
    require(part.shape.rank() == 1, ErrorCode::ShapeMismatch, "allGather: parts must be vectors, got ",
            part.shape.str());
    count += part.count();
  }
  Device& device = parts[0].device();
  Tensor rows = device.empty({group->size(), count}, DType::F32, Format::Plain);
  float* place = rows.data() + group->rank() * count;
  for (const Tensor& part : parts) {
    device.launch(op::Copy{part.data(), place, static_cast<size_t>(part.count()) * sizeof(float)});
    place += part.count();
  }
  device.launchAllGather(rows.data(), count, group);
  return rows;
}

FloatBlock floatBlock(Device& device, const Tensor& tensor, Name name) {
  checkFloat(tensor, name);
  require(tensor.stored == DType::F32, ErrorCode::DTypeMismatch, name, " must be stored as float32, got ",
          dtypeName(tensor.stored));
  checkDevice(device, tensor, name);
  return {tensor.data(), device.physicalCount(tensor.shape, tensor.format)};
}

std::vector<FloatBlock> floatBlocks(Device& device, const std::vector<Tensor>& tensors, Name name) {
  std::vector<FloatBlock> blocks;
  blocks.reserve(tensors.size());
  for (const Tensor& tensor : tensors) blocks.push_back(floatBlock(device, tensor, name));
  return blocks;
}

void startAllReduce(const std::vector<Tensor>& tensors, bool mean, const std::shared_ptr<Collective>& group) {
  const Name name{"allReduce", "tensors"};
  require(!tensors.empty(), ErrorCode::InvalidArgument, name, " must not be empty");
  checkAlive(tensors[0], name);
  Device& device = tensors[0].device();
  device.launchAllReduce(floatBlocks(device, tensors, name), mean, group);
  device.exchanging(tensors);
}

}  // namespace kn
