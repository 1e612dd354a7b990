#pragma once
#include <memory>

#include "environment.h"
#include "wrap.h"

namespace kn::addon {

class ProgramWrap : public Wrap<ProgramWrap> {
 public:
  static constexpr napi_type_tag tag = {0xe5920d7cb14f4836, 0x96a3c8f1027d5be4};
  static constexpr const char* className = "Program";
  static constexpr const char* expected = "a program";
  static const Bindings& bindings();

  using Wrap::Wrap;
  ~ProgramWrap() { release(); }
  static Napi::Value make(Environment& environment, const std::shared_ptr<Device>& device,
                          std::unique_ptr<Program> program);

  /// Gives the program up. Runs of it may be enqueued still, so it is freed when the device is done with them.
  void release();

  // In this order: the program's memory goes before its device.
  std::shared_ptr<Device> device;
  std::shared_ptr<Program> program;  ///< null once disposed

 private:
  std::shared_ptr<Completions> completions_;
};

template <>
struct Read<ProgramWrap> : ReadWrap<ProgramWrap> {};

/// A program that isn't disposed.
template <>
struct Read<Program> {
  static constexpr size_t parameters = 1;
  static const Program& from(Call& call);
};

}  // namespace kn::addon
