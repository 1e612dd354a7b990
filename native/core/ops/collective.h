#pragma once
#include <memory>
#include <vector>

#include "../runtime/collective.h"
#include "../runtime/tensor.h"

namespace kn {

/// Vectors of all processes: row r has those of rank r, one behind the other. All processes must give as many values,
/// in the same order of calls.
Tensor allGather(const std::vector<Tensor>& parts, const std::shared_ptr<Collective>& group);

}  // namespace kn
