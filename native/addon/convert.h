#pragma once
#include <napi.h>

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../core/ops/conv2d.h"
#include "../core/ops/moments.h"
#include "../core/ops/random.h"
#include "../core/runtime/device.h"

/// JavaScript values into checked C++ values, and results back. A new type of argument specializes `convert`, a new
/// type of result overloads `toJs`; both may stand in the file of their op family.
namespace kn::addon {

class Environment;

/// The name of an argument in messages. A name written "name?" may be left out or null.
struct Parameter {
  std::string name;
  bool optional = false;

  Parameter(const char* text);
};

class Argument;

/// Where the arguments of a call are.
enum class Passing : uint8_t {
  Named,  ///< properties of one object
  Positional,
  Method,  ///< `this`, then positional ones
};

/// One call from JavaScript, whose arguments are taken in turn.
class Call {
 public:
  Call(const Napi::CallbackInfo& info, const char* function, const std::vector<Parameter>& parameters, Passing passing);

  Argument next();
  template <class T>
  T next();
  /// When all arguments are taken: throws where the caller named others too.
  void finish() const;
  Napi::Env env() const { return info_.Env(); }
  Environment& environment() const;
  const char* function() const { return function_; }

  /// Makes sure that a device outlives the call, whatever getters of argument objects may dispose.
  void keep(const std::shared_ptr<Device>& device);
  /// The owner of a device that an argument brought in.
  const std::shared_ptr<Device>& owner(const Device& device) const;

 private:
  const Napi::CallbackInfo& info_;
  const char* function_;
  const std::vector<Parameter>& parameters_;
  const Passing passing_;
  size_t taken_ = 0;
  size_t given_ = 0;  ///< named ones that aren't undefined
  std::vector<std::shared_ptr<Device>> devices_;
};

enum class Presence { Required, Optional };

/// A value on its way in, and what messages call it: "conv2d: x", "sgd: parameters[3].weight".
class Argument {
 public:
  Argument(Call& call, Napi::Value value, const char* name, bool optional, const Argument* parent = nullptr)
      : call(call), value(value), name_(name), optional_(optional), parent_(parent) {}

  Call& call;
  const Napi::Value value;

  /// An optional argument that isn't given.
  bool absent() const { return optional_ && (value.IsNull() || value.IsUndefined()); }
  std::string name() const;
  [[noreturn]] void fail(const char* expected) const;
  [[noreturn]] void disposed() const;

  /// A text as the enumerator of its place among these.
  template <class Enum>
  Enum oneOf(std::initializer_list<const char*> names) const {
    return static_cast<Enum>(choice(names));
  }

  /// A property of an object, or an element of an array.
  template <class T>
  T get(const char* key, Presence presence = Presence::Required) const;
  template <class T>
  T at(uint32_t index) const;

 private:
  size_t choice(std::initializer_list<const char*> names) const;

  const char* name_;  ///< null for an element of an array
  const bool optional_;
  const Argument* parent_;
  uint32_t index_ = 0;
};

/// Host memory of a typed array; valid until JavaScript runs again.
struct Values {
  DType dtype;
  const void* data;
  int64_t count;
};

template <class T>
T convert(const Argument& argument);
template <>
Tensor convert(const Argument& argument);
template <>
Shape convert(const Argument& argument);
template <>
DType convert(const Argument& argument);
template <>
Format convert(const Argument& argument);
template <>
bool convert(const Argument& argument);
template <>
double convert(const Argument& argument);
/// Whole numbers of 32 bits: sizes and counts that can be multiplied without overflow.
template <>
int64_t convert(const Argument& argument);
template <>
op::ConvShape convert(const Argument& argument);
template <>
RandomSource convert(const Argument& argument);
template <>
RunningAverages convert(const Argument& argument);
template <>
Values convert(const Argument& argument);

/// How a C++ parameter takes its share of the arguments.
template <class T>
struct Read {
  static constexpr size_t parameters = 1;
  static T from(Call& call) { return call.next<T>(); }
};
/// An array.
template <class T>
struct Read<std::vector<T>> {
  static constexpr size_t parameters = 1;
  static std::vector<T> from(Call& call);
};
template <class T>
struct Read<std::optional<T>> {
  static constexpr size_t parameters = 1;
  static std::optional<T> from(Call& call) {
    const Argument argument = call.next();
    if (argument.absent()) return std::nullopt;
    return convert<T>(argument);
  }
};
/// Two arguments; where they are optional, both or neither.
template <>
struct Read<MeanVar> {
  static constexpr size_t parameters = 2;
  static MeanVar from(Call& call);
};
template <>
struct Read<Environment> {
  static constexpr size_t parameters = 0;
  static Environment& from(Call& call) { return call.environment(); }
};

/// Null for an empty tensor.
Napi::Value toJs(Call& call, const Tensor& tensor);
Napi::Value toJs(Call& call, const std::vector<Tensor>& tensors);
Napi::Value toJs(Call& call, const Shape& shape);
Napi::Value toJs(Call& call, DType dtype);
Napi::Value toJs(Call& call, Format format);
Napi::Value toJs(Call& call, const std::string& text);
Napi::Value toJs(Call& call, double number);
Napi::Value toJs(Call& call, const MeanVar& moments);
Napi::Value toJs(Call& call, const MemoryStats& stats);
Napi::Value toJs(Call& call, const std::map<std::string, ProfileEntry>& profile);
inline Napi::Value toJs(Call&, Napi::Value value) { return value; }

/// An object of tensors.
struct Field {
  const char* name;
  const Tensor& tensor;
};
Napi::Value object(Call& call, std::initializer_list<Field> fields);

template <class T>
T Call::next() {
  return convert<T>(next());
}

template <class T>
T Argument::get(const char* key, Presence presence) const {
  if (!value.IsObject()) fail("an object");
  return convert<T>(Argument(call, value.As<Napi::Object>().Get(key), key, presence == Presence::Optional, this));
}

template <class T>
T Argument::at(uint32_t index) const {
  Argument element(call, value.As<Napi::Array>().Get(index), nullptr, false, this);
  element.index_ = index;
  return convert<T>(element);
}

template <class T>
std::vector<T> Read<std::vector<T>>::from(Call& call) {
  const Argument array = call.next();
  if (!array.value.IsArray()) array.fail("an array");
  std::vector<T> elements(array.value.As<Napi::Array>().Length());
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = array.at<T>(static_cast<uint32_t>(i));
  return elements;
}

}  // namespace kn::addon
