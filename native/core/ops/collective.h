#pragma once
#include <memory>
#include <vector>

#include "../runtime/collective.h"
#include "../runtime/tensor.h"
#include "checks.h"

namespace kn {

/// Vectors of all processes: row r has those of rank r, one behind the other. All processes must give as many values,
/// in the same order of calls.
Tensor allGather(const std::vector<Tensor>& parts, const std::shared_ptr<Collective>& group);

/// Where the values of a float32 tensor lie, which is the same in all processes for one shape and format.
FloatBlock floatBlock(Device& device, const Tensor& tensor, Name name);
std::vector<FloatBlock> floatBlocks(Device& device, const std::vector<Tensor>& tensors, Name name);

/// Begins to overwrite float32 tensors of a device with their sums or means over all processes; see
/// Device::joinExchanges.
void startAllReduce(const std::vector<Tensor>& tensors, bool mean, const std::shared_ptr<Collective>& group);

}  // namespace kn
