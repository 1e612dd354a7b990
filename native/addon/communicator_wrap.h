#pragma once
#include <memory>

#include "environment.h"
#include "wrap.h"

namespace kn::addon {

class CommunicatorWrap : public Wrap<CommunicatorWrap> {
 public:
  static constexpr napi_type_tag tag = {0x7c0be3a94d1f5268, 0xa15e29d7f3804b6c};
  static constexpr const char* className = "Communicator";
  static constexpr const char* expected = "a communicator";
  static const Bindings& bindings();

  using Wrap::Wrap;
  static Napi::Value make(Environment& environment, std::shared_ptr<nccl::Communicator> communicator);

  std::shared_ptr<nccl::Communicator> communicator;
};

template <>
struct Read<CommunicatorWrap> : ReadWrap<CommunicatorWrap> {};

template <>
struct Read<nccl::Communicator> {
  static constexpr size_t parameters = 1;
  static nccl::Communicator& from(Call& call);
};

}  // namespace kn::addon
