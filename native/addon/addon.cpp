#include <napi.h>

#include <cmath>

#include "../cpu/cpu_device.h"
#include "device_wrap.h"
#include "functions.h"

namespace kn::addon {

template <>
CpuOptions convert(const Argument& a) {
  CpuOptions options;
  options.threads = static_cast<int>(a.get<int64_t>("threads"));
  const double limit = a.get<double>("memoryLimit");
  require(limit >= 0 && limit <= 9007199254740991 && limit == std::floor(limit), ErrorCode::InvalidArgument,
          a.call.function(), ": ", a.name(), ".memoryLimit must be a number of bytes, got ", limit);
  options.memoryLimit = static_cast<size_t>(limit);
  return options;
}

template <>
Napi::Function convert(const Argument& a) {
  if (!a.value.IsFunction()) a.fail("a class");
  return a.value.As<Napi::Function>();
}

namespace {

void setErrorClass(Environment& environment, const Napi::Function& errorClass) {
  environment.setErrorClass(errorClass);
}

/// This file is compiled for any CPU, unlike the kernels, so it can say what is missing.
std::string cpuUnsupported() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    return "the CPU kernels need a processor with AVX2 and FMA (Intel since 2013, AMD since 2015), "
           "which this one doesn't have";
  }
#endif
  return "";
}

Napi::Value openCpuDevice(Environment& environment, const CpuOptions& options) {
  const std::string reason = cpuUnsupported();
  require(reason.empty(), ErrorCode::DeviceUnavailable, "createCpuDevice: ", reason);
  return DeviceWrap::make(environment, createCpuDevice(options));
}

const Bindings& generalFunctions() {
  static const Bindings table{
      bind<&setErrorClass>("setErrorClass", "errorClass"),
      bind<&cpuUnsupported>("cpuUnsupported"),
      bind<&openCpuDevice>("createCpuDevice", "options"),
  };
  return table;
}

void drain(Environment& environment) { environment.drain(); }

/// process.exit() ends the process without taking the environment down, so the device threads would run on into the
/// destructors of static objects; here they come to rest first.
void drainAtExit(Napi::Env env) {
  static const Binding binding = bind<&drain>("drain");
  const auto process = env.Global().Get("process").As<Napi::Object>();
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), binding.function(env)});
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment::create(env);
  for (const Bindings* table : {&generalFunctions(), &memoryFunctions(), &layerFunctions(), &normalizationFunctions(),
                                &kalmanFunctions(), &trainingFunctions()}) {
    for (const Binding& binding : *table) exports.Set(binding.name, binding.function(env));
  }
  drainAtExit(env);
  return exports;
}

}  // namespace

NODE_API_MODULE(kalman_norm, init)

}  // namespace kn::addon
