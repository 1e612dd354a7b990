#include "../../core/ops/collective.h"

#include "../binding.h"

namespace kn::addon {

template <>
std::shared_ptr<Collective> convert(const Argument& argument) {
  using Held = Napi::External<std::shared_ptr<Collective>>;
  constexpr napi_type_tag tag{Collective::kTag[0], Collective::kTag[1]};
  bool tagged = false;
  // By the raw call: as an object of node-addon-api an external value can't be asked.
  if (argument.value.IsExternal()) napi_check_object_type_tag(argument.call.env(), argument.value, &tag, &tagged);
  if (!tagged) argument.fail("the collective of a process group");
  return *argument.value.As<Held>().Data();
}

namespace {

const Functions functions{
    bind<&allGather>("allGather", "parts", "group"),
    bind<&startAllReduce>("startAllReduce", "tensors", "mean", "group"),
};

}  // namespace
}  // namespace kn::addon
