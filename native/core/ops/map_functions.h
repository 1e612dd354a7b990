#pragma once
#include <cmath>
#include <cstdint>

#include "host_device.h"

/// Functions of one value and their slopes, for the kernels of every device. NaN stays NaN.
namespace kn {

/// Of the parameters a and b, the last ones use one or two.
enum class MapKind : uint8_t {
  Exp,
  Log,
  Sqrt,
  Reciprocal,
  Abs,
  Tanh,
  Sigmoid,
  Gelu,       ///< x·Φ(x)
  Silu,       ///< x·sigmoid(x)
  Softplus,   ///< log(1 + exp(x))
  LeakyRelu,  ///< a·x below 0
  Pow,        ///< x^a
  Clamp,      ///< within [a, b]
};

/// Whether the slope is computed from the result, and not from x.
KN_HOST_DEVICE constexpr bool slopeFromResult(MapKind kind) {
  return kind == MapKind::Exp || kind == MapKind::Sqrt || kind == MapKind::Reciprocal || kind == MapKind::Tanh ||
         kind == MapKind::Sigmoid;
}

KN_HOST_DEVICE inline float sigmoidOf(float x) { return 1 / (1 + expf(-x)); }
/// Φ(x), without cancellation in the lower tail.
KN_HOST_DEVICE inline float normalBelow(float x) { return 0.5f * erfcf(-0.70710678f * x); }

KN_HOST_DEVICE inline float mapValue(MapKind kind, float x, float a, float b) {
  switch (kind) {
    case MapKind::Exp: return expf(x);
    case MapKind::Log: return logf(x);
    case MapKind::Sqrt: return sqrtf(x);
    case MapKind::Reciprocal: return 1 / x;
    case MapKind::Abs: return fabsf(x);
    case MapKind::Tanh: return tanhf(x);
    case MapKind::Sigmoid: return sigmoidOf(x);
    case MapKind::Gelu: return x * normalBelow(x);
    case MapKind::Silu: return x * sigmoidOf(x);
    case MapKind::Softplus: return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x)));
    case MapKind::LeakyRelu: return x < 0 ? a * x : x;
    case MapKind::Pow: return powf(x, a);
    case MapKind::Clamp: return x < a ? a : x > b ? b : x;
  }
  return x;
}

/// The slope at x, of which `at` is the result where `slopeFromResult`, else x itself.
KN_HOST_DEVICE inline float mapSlope(MapKind kind, float at, float a, float b) {
  switch (kind) {
    case MapKind::Exp: return at;
    case MapKind::Log: return 1 / at;
    case MapKind::Sqrt: return 0.5f / at;
    case MapKind::Reciprocal: return -at * at;
    case MapKind::Abs: return at > 0 ? 1.0f : at < 0 ? -1.0f : 0.0f;
    case MapKind::Tanh: return 1 - at * at;
    case MapKind::Sigmoid: return at * (1 - at);
    case MapKind::Gelu: return normalBelow(at) + at * 0.39894228f * expf(-0.5f * at * at);
    case MapKind::Silu: return sigmoidOf(at) * (1 + at * (1 - sigmoidOf(at)));
    case MapKind::Softplus: return sigmoidOf(at);
    case MapKind::LeakyRelu: return at < 0 ? a : 1.0f;
    case MapKind::Pow: return a * powf(at, a - 1);
    case MapKind::Clamp: return at < a || at > b ? 0.0f : 1.0f;
  }
  return 1;
}

/// Functions of two values. Comparisons give 1 or 0.
enum class BinaryKind : uint8_t {
  Add,
  Subtract,
  Multiply,
  Divide,
  Maximum,
  Minimum,
  Equal,
  Greater,
  Where,     ///< b where a isn't 0, else 0
  WhereNot,  ///< b where a is 0, else 0
};

KN_HOST_DEVICE inline float binaryValue(BinaryKind kind, float a, float b) {
  switch (kind) {
    case BinaryKind::Add: return a + b;
    case BinaryKind::Subtract: return a - b;
    case BinaryKind::Multiply: return a * b;
    case BinaryKind::Divide: return a / b;
    case BinaryKind::Maximum: return b > a || b != b ? b : a;
    case BinaryKind::Minimum: return b < a || b != b ? b : a;
    case BinaryKind::Equal: return a == b ? 1.0f : 0.0f;
    case BinaryKind::Greater: return a > b ? 1.0f : 0.0f;
    case BinaryKind::Where: return a != 0 ? b : 0.0f;
    case BinaryKind::WhereNot: return a != 0 ? 0.0f : b;
  }
  return a;
}

}  // namespace kn
