#include <napi.h>

#include <cmath>

#include "../cpu/cpu_device.h"
#include "binding.h"
#include "cuda_library.h"
#include "device_wrap.h"

namespace kn::addon {

namespace {

size_t nextMemoryLimit(Call& call) {
  const double limit = call.next<double>();
  require(limit >= 0 && limit <= 9007199254740991 && limit == std::floor(limit), ErrorCode::InvalidArgument,
          call.function(), ": memoryLimit must be a number of bytes, got ", limit);
  return static_cast<size_t>(limit);
}

}  // namespace

template <>
Precision convert(const Argument& a) {
  const std::string name = a.value.IsString() ? std::string(a.value.As<Napi::String>()) : "";
  if (name == "fp32") return Precision::Float32;
  if (name == "tf32") return Precision::TF32;
  if (name == "fp16") return Precision::Float16;
  if (name == "bf16") return Precision::BFloat16;
  a.fail("'fp32', 'tf32', 'fp16' or 'bf16'");
}

template <>
struct Read<CpuOptions> {
  static constexpr size_t parameters = 2;
  static CpuOptions from(Call& call) { return {static_cast<int>(call.next<int64_t>()), nextMemoryLimit(call)}; }
};

template <>
struct Read<CudaOptions> {
  static constexpr size_t parameters = 5;
  static CudaOptions from(Call& call) {
    return {static_cast<int>(call.next<int64_t>()), nextMemoryLimit(call), call.next<Precision>(), call.next<bool>(),
            call.next<bool>()};
  }
};

template <>
Napi::Function convert(const Argument& a) {
  if (!a.value.IsFunction()) a.fail("a class");
  return a.value.As<Napi::Function>();
}

namespace {

void setErrorClass(Environment& environment, const Napi::Function& errorClass) {
  environment.setErrorClass(errorClass);
}

Napi::Value openCpuDevice(Environment& environment, const CpuOptions& options) {
  return DeviceWrap::make(environment, createCpuDevice(options));
}

Napi::Value openCudaDevice(Environment& environment, const std::string& library, const CudaOptions& options) {
  return DeviceWrap::make(environment, openCudaLibrary(library).open(options));
}

Napi::Value cudaDevices(Environment& environment, const std::string& library) {
  const std::vector<CudaDeviceInfo> found = openCudaLibrary(library).devices();
  auto list = Napi::Array::New(environment.env, found.size());
  for (uint32_t i = 0; i < found.size(); ++i) {
    auto info = Napi::Object::New(environment.env);
    info.Set("name", found[i].name);
    info.Set("capability", found[i].capability);
    info.Set("memory", static_cast<double>(found[i].memory));
    list.Set(i, info);
  }
  return list;
}

/// The parameters of every function that takes them by name, as the tables have them.
Napi::Value signatures(Environment& environment) {
  auto result = Napi::Object::New(environment.env);
  for (const Functions* family : Functions::all()) {
    for (const Binding& binding : family->bindings) {
      if (binding.kind != Binding::Kind::Function) continue;
      auto names = Napi::Array::New(environment.env);
      for (const Parameter& parameter : binding.parameters) {
        names.Set(names.Length(), parameter.optional ? parameter.name + "?" : parameter.name);
      }
      result.Set(binding.name, names);
    }
  }
  return result;
}

const Functions functions{
    positional<&setErrorClass>("setErrorClass", "errorClass"),
    positional<&signatures>("signatures"),
    bind<&openCpuDevice>("createCpuDevice", "threads", "memoryLimit"),
    bind<&openCudaDevice>("createCudaDevice", "library", "index", "memoryLimit", "precision", "deterministic",
                          "benchmark"),
    bind<&cudaDevices>("cudaDevices", "library"),
};

void leave(Environment& environment) { environment.leave(); }

/// process.exit() ends the process without taking the environment down, so the device threads would run on into the
/// destructors of static objects; here they come to rest first.
void leaveAtExit(Napi::Env env) {
  static const Binding binding = positional<&leave>("leave");
  const auto process = env.Global().Get("process").As<Napi::Object>();
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), binding.function(env)});
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment::create(env);
  for (const Functions* family : Functions::all()) {
    for (const Binding& binding : family->bindings) exports.Set(binding.name, binding.function(env));
  }
  exports.Set("version", KN_VERSION);
  leaveAtExit(env);
  return exports;
}

}  // namespace

NODE_API_MODULE(kalman_norm, init)

}  // namespace kn::addon
