#pragma once
#include <napi.h>

#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "convert.h"

/// The way from a C++ function to a JavaScript one: `bind<&kn::relu>("relu", "x")` makes a table entry that reads the
/// argument x of `relu({ x })`, calls, and converts the result. What can be an argument or a result is listed in
/// convert.h.
namespace kn::addon {

/// One function, method or getter that JavaScript can call.
struct Binding {
  enum class Kind : uint8_t { Function, Positional, Method, Getter };

  const char* name;
  Kind kind;
  std::vector<Parameter> parameters;
  Napi::Value (*run)(Call& call);

  /// The binding must outlive what these give to JavaScript.
  Napi::Function function(Napi::Env env) const;
  napi_property_descriptor member() const;
};

using Bindings = std::vector<Binding>;

/// Functions that the addon exports; each family has such an object in its file (ops/), which adds itself to the list.
class Functions {
 public:
  Functions(std::initializer_list<Binding> bindings);
  Functions(const Functions&) = delete;

  static const std::vector<const Functions*>& all();
  const Bindings bindings;
};

template <class Function>
struct Signature;

template <class Result, class... Arguments>
struct Signature<Result (*)(Arguments...)> {
  static constexpr size_t parameters = (0 + ... + Read<std::remove_cvref_t<Arguments>>::parameters);

  template <Result (*function)(Arguments...)>
  static Napi::Value run(Call& call) {
    // Braces: the arguments are read from left to right.
    std::tuple<decltype(Read<std::remove_cvref_t<Arguments>>::from(call))...> arguments{
        Read<std::remove_cvref_t<Arguments>>::from(call)...};
    call.finish();
    if constexpr (std::is_void_v<Result>) {
      std::apply(function, arguments);
      return call.env().Undefined();
    } else {
      return toJs(call, std::apply(function, arguments));
    }
  }
};

/// A function of the addon, called with one object: `parameters` are its properties; "name?" may be null or left out.
template <auto function, class... Names>
Binding bind(const char* name, Names... parameters) {
  using S = Signature<decltype(function)>;
  static_assert(S::parameters == sizeof...(Names), "every argument needs a name");
  return {name, Binding::Kind::Function, {Parameter(parameters)...}, &S::template run<function>};
}

/// As `bind`, for arguments that are written one after the other.
template <auto function, class... Names>
Binding positional(const char* name, Names... parameters) {
  Binding binding = bind<function>(name, parameters...);
  binding.kind = Binding::Kind::Positional;
  return binding;
}

/// As `bind`; the first parameter is `this`, the others are positional.
template <auto function, class... Names>
Binding method(const char* name, Names... parameters) {
  Binding binding = bind<function>(name, parameters...);
  binding.kind = Binding::Kind::Method;
  return binding;
}

template <auto function>
Binding getter(const char* name, const char* self) {
  Binding binding = bind<function>(name, self);
  binding.kind = Binding::Kind::Getter;
  return binding;
}

}  // namespace kn::addon
