#include "collective.h"

#include "checks.h"

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

}  // namespace kn
