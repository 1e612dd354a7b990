#include "binding.h"

#include <new>

#include "environment.h"

namespace kn::addon {
namespace {

Passing passing(Binding::Kind kind) {
  switch (kind) {
    case Binding::Kind::Function: return Passing::Named;
    case Binding::Kind::Positional: return Passing::Positional;
    default: return Passing::Method;
  }
}

/// Made at its first use: the order in which the objects of several files come to life isn't fixed.
std::vector<const Functions*>& registered() {
  static std::vector<const Functions*> list;
  return list;
}

/// Every call from JavaScript enters here, and no C++ exception gets past.
napi_value enter(napi_env rawEnv, napi_callback_info rawInfo) {
  const Napi::Env env(rawEnv);
  try {
    const Napi::CallbackInfo info(env, rawInfo);
    const auto& binding = *static_cast<const Binding*>(info.Data());
    const auto fail = [&](ErrorCode code, const std::string& message) {
      Environment::of(env).error(code, message).ThrowAsJavaScriptException();
    };
    try {
      Call call(info, binding.name, binding.parameters, passing(binding.kind));
      return binding.run(call);
    } catch (const Napi::Error&) {
      throw;
    } catch (const Error& error) {
      fail(error.code, error.what());
    } catch (const std::bad_alloc&) {
      fail(ErrorCode::OutOfMemory, std::string(binding.name) + ": the process has no room left");
    } catch (const std::exception& error) {
      fail(ErrorCode::DeviceFailed, std::string(binding.name) + ": " + error.what());
    }
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (...) {
    napi_throw_error(env, "DEVICE_FAILED", "an unknown error in the native addon");
  }
  return nullptr;
}

}  // namespace

Functions::Functions(std::initializer_list<Binding> bindings) : bindings(bindings) { registered().push_back(this); }

const std::vector<const Functions*>& Functions::all() { return registered(); }

Napi::Function Binding::function(Napi::Env env) const {
  napi_value function;
  const napi_status status =
      napi_create_function(env, name, NAPI_AUTO_LENGTH, enter, const_cast<Binding*>(this), &function);
  if (status != napi_ok) throw Napi::Error::New(env);
  return {env, function};
}

napi_property_descriptor Binding::member() const {
  napi_property_descriptor member{};
  member.utf8name = name;
  (kind == Kind::Getter ? member.getter : member.method) = enter;
  member.attributes = napi_default_method;
  member.data = const_cast<Binding*>(this);
  return member;
}

}  // namespace kn::addon
