#include "program_wrap.h"

#include <utility>

namespace kn::addon {
namespace {

double launches(const Program& program) { return static_cast<double>(program.launches()); }
MemoryStats memory(const Program& program) { return program.memory(); }
void dispose(ProgramWrap& wrap) { wrap.release(); }

}  // namespace

const Bindings& ProgramWrap::bindings() {
  static const Bindings table{
      getter<&launches>("launches", "program"),
      getter<&memory>("memory", "program"),
      method<&dispose>("dispose", "program"),
  };
  return table;
}

Napi::Value ProgramWrap::make(Environment& environment, const std::shared_ptr<Device>& device,
                              std::unique_ptr<Program> program) {
  ProgramWrap& wrap = create(environment.programClass);
  wrap.device = device;
  wrap.program = std::move(program);
  wrap.completions_ = environment.completions;
  return wrap.Value();
}

void ProgramWrap::release() {
  if (!program) return;
  completions_->after(device, [last = std::exchange(program, nullptr)](Napi::Env, const Error*) {});
  device.reset();
}

const Program& Read<Program>::from(Call& call) {
  const Argument argument = call.next();
  const ProgramWrap* wrap = ProgramWrap::unwrap(argument.value);
  if (!wrap) argument.fail(ProgramWrap::expected);
  if (!wrap->program) argument.disposed();
  return *wrap->program;
}

}  // namespace kn::addon
