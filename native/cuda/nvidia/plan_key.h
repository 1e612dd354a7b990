#pragma once
#include <cstddef>
#include <cstdint>

/// What the keys of plans are made of.
namespace kn::cuda {

/// Of the fields of a key. Multiplying spreads what small numbers differ in over all bits.
template <class... Fields>
size_t hashOf(Fields... fields) {
  uint64_t hash = 0;
  ((hash = (hash ^ (hash >> 29) ^ static_cast<uint64_t>(fields)) * 0x9e3779b97f4a7c15u), ...);
  return hash ^ (hash >> 32);
}

/// The largest power of two, up to `most`, that divides all addresses; null pointers don't matter.
template <class... Data>
int64_t alignmentOf(uint64_t most, const Data*... data) {
  const uint64_t bits = (most | ... | reinterpret_cast<uintptr_t>(data));
  return static_cast<int64_t>(bits & -bits);
}

}  // namespace kn::cuda
