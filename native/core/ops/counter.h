#pragma once
#include "views.h"

namespace kn::op {

/// counter += by
struct Advance {
  int32_t* counter;
  int32_t by;
};
/// history[cursor] = value; nothing where the cursor is outside
struct Append {
  const float* value;
  const int32_t* cursor;
  float* history;
  int64_t capacity;
};

}  // namespace kn::op

namespace kn {

void advance(const Tensor& counter, int64_t by);
void append(const Tensor& value, const Tensor& cursor, const Tensor& history);

}  // namespace kn
