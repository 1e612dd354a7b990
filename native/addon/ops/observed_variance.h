#pragma once
#include "../../core/ops/observed_variance.h"
#include "../convert.h"

namespace kn::addon {

/// Three arguments; where they are optional, all or none.
template <>
struct Read<ShownVariance> {
  static constexpr size_t parameters = 3;
  static ShownVariance from(Call& call) {
    const Argument slope = call.next(), believed = call.next(), average = call.next();
    for (const Argument* other : {&believed, &average}) {
      if (slope.absent() != other->absent()) {
        (slope.absent() ? slope : *other).fail("given, or the others of the three left out");
      }
    }
    return {convert<Tensor>(slope), convert<Tensor>(believed), convert<Tensor>(average)};
  }
};

}  // namespace kn::addon
