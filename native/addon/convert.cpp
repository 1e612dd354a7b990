#include "convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "environment.h"
#include "handle.h"

namespace kn::addon {
namespace {

std::string describe(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean:
    case napi_number: return value.ToString().Utf8Value();
    case napi_string: return "'" + value.As<Napi::String>().Utf8Value() + "'";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    default: break;
  }
  if (value.IsArray()) return "an array of " + std::to_string(value.As<Napi::Array>().Length()) + " values";
  const Napi::Value type = value.As<Napi::Object>().Get("constructor");
  const Napi::Value name = type.IsFunction() ? type.As<Napi::Object>().Get("name") : type;
  return name.IsString() ? "an object of type " + name.As<Napi::String>().Utf8Value() : "an object";
}

bool whole(const Napi::Value& value, double least, double most) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= least && number <= most && number == std::floor(number);
}

std::string list(const std::vector<Parameter>& parameters) {
  std::string text;
  for (const Parameter& parameter : parameters) text += (text.empty() ? "" : ", ") + parameter.name;
  return text;
}

}  // namespace

Parameter::Parameter(const char* text) : name(text), optional(name.back() == '?') {
  if (optional) name.pop_back();
}

Call::Call(const Napi::CallbackInfo& info, const char* function, const std::vector<Parameter>& parameters,
           Passing passing)
    : info_(info), function_(function), parameters_(parameters), passing_(passing) {
  if (passing_ == Passing::Named && !parameters_.empty() && !info_[0].IsObject()) {
    throw Error(ErrorCode::InvalidArgument, std::string(function_) + ": expected an object with " + list(parameters_) +
                                                ", got " + describe(info_[0]));
  }
}

Argument Call::next() {
  const Parameter& parameter = parameters_.at(taken_);
  const size_t index = taken_++;
  const auto passed = [&]() -> Napi::Value {
    if (passing_ == Passing::Positional) return info_[index];
    if (passing_ == Passing::Method) return index == 0 ? info_.This() : info_[index - 1];
    return info_[0].As<Napi::Object>().Get(parameter.name.c_str());
  };
  const Napi::Value value = passed();
  if (!value.IsUndefined()) ++given_;
  return {*this, value, parameter.name.c_str(), parameter.optional};
}

void Call::finish() const {
  if (passing_ != Passing::Named || parameters_.empty()) return;
  const Napi::Array names = info_[0].As<Napi::Object>().GetPropertyNames();
  if (names.Length() == given_) return;
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).ToString();
    const auto same = [&](const Parameter& parameter) { return parameter.name == name; };
    require(std::any_of(parameters_.begin(), parameters_.end(), same), ErrorCode::InvalidArgument, function_,
            ": there is no argument ", name, "; expected ", list(parameters_));
  }
}

Environment& Call::environment() const { return Environment::of(env()); }

void Call::keep(const std::shared_ptr<Device>& device) {
  for (const auto& kept : devices_) {
    if (kept == device) return;
  }
  devices_.push_back(device);
}

const std::shared_ptr<Device>& Call::owner(const Device& device) const {
  for (const auto& kept : devices_) {
    if (kept.get() == &device) return kept;
  }
  throw Error(ErrorCode::InvalidState, std::string(function_) + ": the result is on a device of no argument");
}

std::string Argument::name() const {
  if (!parent_) return name_;
  std::string path = parent_->name();
  if (name_) return path.append(".").append(name_);
  return path.append("[").append(std::to_string(index_)).append("]");
}

void Argument::fail(const char* expected) const {
  throw Error(ErrorCode::InvalidArgument,
              std::string(call.function()) + ": " + name() + " must be " + expected + ", got " + describe(value));
}

void Argument::disposed() const {
  throw Error(ErrorCode::Disposed, std::string(call.function()) + ": " + name() + " is disposed");
}

template <>
Tensor convert(const Argument& argument) {
  if (argument.absent()) return {};
  const Handle* handle = Handle::unwrap(argument.value);
  if (!handle) argument.fail("a tensor");
  if (!handle->tensor) argument.disposed();
  argument.call.keep(handle->device);
  return handle->tensor;
}

template <>
Shape convert(const Argument& argument) {
  const Napi::Value value = argument.value;
  if (!value.IsArray()) argument.fail("an array of sizes");
  const auto sizes = value.As<Napi::Array>();
  if (sizes.Length() > Shape::kMaxRank) argument.fail("an array of at most 5 sizes");
  Shape shape;
  int64_t count = 1;
  for (uint32_t axis = 0; axis < sizes.Length(); ++axis) {
    shape.push(argument.at<int64_t>(axis));
    require(shape[axis] >= 1, ErrorCode::InvalidArgument, argument.call.function(), ": ", argument.name(), "[", axis,
            "] must be at least 1, got ", shape[axis]);
    // Here, because the checks below JavaScript multiply sizes freely.
    require(!__builtin_mul_overflow(count, shape[axis], &count) && count < (int64_t{1} << 48), ErrorCode::OutOfMemory,
            argument.call.function(), ": ", argument.name(), " has too many elements");
  }
  return shape;
}

template <>
DType convert(const Argument& argument) {
  if (argument.value.IsString()) {
    const std::string name = argument.value.As<Napi::String>();
    for (DType dtype : {DType::F32, DType::I32, DType::U8}) {
      if (name == dtypeName(dtype)) return dtype;
    }
  }
  argument.fail("'float32', 'int32' or 'uint8'");
}

size_t Argument::choice(std::initializer_list<const char*> names) const {
  const std::string text = value.IsString() ? std::string(value.As<Napi::String>()) : std::string();
  std::string expected = "one of ";
  size_t place = 0;
  for (const char* name : names) {
    if (text == name) return place;
    expected += (place++ ? ", '" : "'") + std::string(name) + "'";
  }
  fail(expected.c_str());
}

template <>
Format convert(const Argument& argument) {
  if (argument.value.IsString()) {
    const std::string name = argument.value.As<Napi::String>();
    for (Format format : {Format::Plain, Format::Activation, Format::Filter}) {
      if (name == formatName(format)) return format;
    }
  }
  argument.fail("'plain', 'activation' or 'filter'");
}

template <>
bool convert(const Argument& argument) {
  if (argument.absent()) return false;
  if (!argument.value.IsBoolean()) argument.fail("a boolean");
  return argument.value.As<Napi::Boolean>();
}

template <>
double convert(const Argument& argument) {
  if (!argument.value.IsNumber()) argument.fail("a number");
  return argument.value.As<Napi::Number>();
}

template <>
std::string convert(const Argument& argument) {
  if (!argument.value.IsString()) argument.fail("a string");
  return argument.value.As<Napi::String>();
}

template <>
int64_t convert(const Argument& argument) {
  using Limits = std::numeric_limits<int32_t>;
  if (!whole(argument.value, Limits::min(), Limits::max())) argument.fail("a 32-bit integer");
  return argument.value.As<Napi::Number>().Int64Value();
}

template <>
op::ConvShape convert(const Argument& argument) {
  const Napi::Value value = argument.value;
  const uint32_t length = value.IsArray() ? value.As<Napi::Array>().Length() : 0;
  if (length != 6 && length != 9) {
    argument.fail("[strideH, strideW, top, left, bottom, right] or with dilationH, dilationW, groups");
  }
  const auto at = [&](uint32_t index) { return argument.at<int64_t>(index); };
  const op::ConvShape shape{at(0), at(1), at(2), at(3), at(4), at(5)};
  if (length == 6) return shape;
  return {shape.strideH, shape.strideW, shape.top, shape.left, shape.bottom, shape.right, at(6), at(7), at(8)};
}

template <>
RandomSource convert(const Argument& argument) {
  if (argument.absent()) return {};
  RandomSource source{argument.get<Tensor>("state"), 0};
  const double stream = argument.get<double>("stream");
  require(stream >= 0 && stream <= std::numeric_limits<uint32_t>::max() && stream == std::floor(stream),
          ErrorCode::InvalidArgument, argument.call.function(), ": ", argument.name(),
          ".stream must be an integer of 32 bits, got ", stream);
  source.stream = static_cast<uint32_t>(stream);
  return source;
}

template <>
RunningAverages convert(const Argument& argument) {
  if (argument.absent()) return {};
  return {argument.get<Tensor>("mean"), argument.get<Tensor>("variance"), argument.get<double>("momentum"),
          argument.get<double>("correction"), argument.get<bool>("allSplits")};
}

template <>
Values convert(const Argument& argument) {
  constexpr const char* expected = "a Float32Array, Int32Array or Uint8Array";
  if (!argument.value.IsTypedArray()) argument.fail(expected);
  // The raw call reaches the memory without making JavaScript objects for it.
  napi_typedarray_type type;
  size_t count;
  void* data;
  const napi_status status =
      napi_get_typedarray_info(argument.call.env(), argument.value, &type, &count, &data, nullptr, nullptr);
  if (status != napi_ok) argument.fail(expected);
  switch (type) {
    case napi_float32_array: return {DType::F32, data, static_cast<int64_t>(count)};
    case napi_int32_array: return {DType::I32, data, static_cast<int64_t>(count)};
    case napi_uint8_array: return {DType::U8, data, static_cast<int64_t>(count)};
    default: argument.fail(expected);
  }
}

MeanVar Read<MeanVar>::from(Call& call) {
  const Argument mean = call.next();
  const Argument var = call.next();
  if (mean.absent() != var.absent()) (mean.absent() ? mean : var).fail("given, or the other of the pair left out");
  return {convert<Tensor>(mean), convert<Tensor>(var)};
}

Napi::Value toJs(Call& call, const Tensor& tensor) {
  if (!tensor) return call.env().Null();
  return Handle::make(call.environment(), call.owner(tensor.device()), tensor);
}

Napi::Value toJs(Call& call, const std::vector<Tensor>& tensors) {
  auto elements = Napi::Array::New(call.env(), tensors.size());
  for (uint32_t i = 0; i < tensors.size(); ++i) elements[i] = toJs(call, tensors[i]);
  return elements;
}

Napi::Value toJs(Call& call, const Shape& shape) {
  auto sizes = Napi::Array::New(call.env(), shape.rank());
  for (int axis = 0; axis < shape.rank(); ++axis) sizes[axis] = static_cast<double>(shape[axis]);
  return sizes;
}

Napi::Value toJs(Call& call, DType dtype) { return Napi::String::New(call.env(), dtypeName(dtype)); }
Napi::Value toJs(Call& call, Format format) { return Napi::String::New(call.env(), formatName(format)); }
Napi::Value toJs(Call& call, const std::string& text) { return Napi::String::New(call.env(), text); }
Napi::Value toJs(Call& call, double number) { return Napi::Number::New(call.env(), number); }

Napi::Value toJs(Call& call, const MeanVar& moments) {
  return object(call, {{"mean", moments.mean}, {"var", moments.var}});
}

Napi::Value toJs(Call& call, const MemoryStats& stats) {
  auto result = Napi::Object::New(call.env());
  result.Set("inUse", static_cast<double>(stats.inUse));
  result.Set("reserved", static_cast<double>(stats.reserved));
  result.Set("peakInUse", static_cast<double>(stats.peakInUse));
  result.Set("allocations", static_cast<double>(stats.allocations));
  result.Set("systemAllocations", static_cast<double>(stats.systemAllocations));
  result.Set("live", static_cast<double>(stats.live));
  return result;
}

Napi::Value toJs(Call& call, const std::map<std::string, ProfileEntry>& profile) {
  auto result = Napi::Object::New(call.env());
  for (const auto& [name, entry] : profile) {
    auto times = Napi::Object::New(call.env());
    times.Set("calls", static_cast<double>(entry.calls));
    times.Set("nanoseconds", static_cast<double>(entry.nanoseconds));
    result.Set(name, times);
  }
  return result;
}

Napi::Value object(Call& call, std::initializer_list<Field> fields) {
  auto result = Napi::Object::New(call.env());
  for (const Field& field : fields) result.Set(field.name, toJs(call, field.tensor));
  return result;
}

}  // namespace kn::addon
