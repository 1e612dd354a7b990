#pragma once
#include <napi.h>

#include <vector>

#include "binding.h"

namespace kn::addon {

/// The base of a class T of objects that JavaScript can hold: T has a `tag`, a `className` and a table `bindings()`.
/// `new` in JavaScript makes a disposed object; the addon makes the others with `create`.
template <class T>
class Wrap : public Napi::ObjectWrap<T> {
 public:
  explicit Wrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<T>(info) {
    info.This().template As<Napi::Object>().TypeTag(&T::tag);
  }

  static Napi::Function define(Napi::Env env) {
    std::vector<typename Napi::ObjectWrap<T>::PropertyDescriptor> properties;
    for (const Binding& binding : T::bindings()) properties.push_back(binding.member());
    return Napi::ObjectWrap<T>::DefineClass(env, T::className, properties);
  }

  /// Null where the value is no T; the tag can't be forged as a prototype can.
  static T* unwrap(const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&T::tag)) return nullptr;
    return Napi::ObjectWrap<T>::Unwrap(value.As<Napi::Object>());
  }

 protected:
  static T& create(const Napi::FunctionReference& constructor) { return *unwrap(constructor.New({})); }
};

/// A T itself, alive or disposed.
template <class T>
struct ReadWrap {
  static constexpr size_t parameters = 1;
  static T& from(Call& call) {
    const Argument argument = call.next();
    T* self = T::unwrap(argument.value);
    if (!self) argument.fail(T::expected);
    return *self;
  }
};

}  // namespace kn::addon
