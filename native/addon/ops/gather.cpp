#include "../../core/ops/gather.h"
#include "../binding.h"

namespace kn::addon {

template <>
struct Read<GatherInput> {
  static constexpr size_t parameters = 12;
  static GatherInput from(Call& call) {
    return {call.next<Tensor>(),  call.next<Tensor>(),  call.next<Tensor>(),  call.next<Tensor>(),
            call.next<Tensor>(),  call.next<int64_t>(), call.next<int64_t>(), call.next<int64_t>(),
            call.next<int64_t>(), call.next<double>(),  call.next<bool>(),    call.next<RandomSource>()};
  }
};

Napi::Value toJs(Call& call, const Batch& batch) {
  return object(call, {{"images", batch.images}, {"labels", batch.labels}});
}

namespace {

const Functions functions{
    bind<&gather>("gather", "images", "labels", "mean", "indices", "cursor", "batch", "first", "pad", "cutout", "scale",
                  "augment", "random?"),
};

}  // namespace
}  // namespace kn::addon
