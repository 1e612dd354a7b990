#pragma once
#include <string>

namespace kn::emulation {

/// The mangled name of the function at an address; empty in a stripped library.
std::string symbolAt(const void* address);

}  // namespace kn::emulation
