#pragma once
#include <array>
#include <cstdint>

namespace kn {

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011): four random words for a counter and a key. Equal on all
/// devices and in any order, because nothing is carried from one draw to the next.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Where a random operation's numbers come from. `state` lies in device memory, so that a recorded step draws anew in
/// every replay: {key low, key high, step}. `stream` tells the draws of one step apart.
struct Random {
  const int32_t* state = nullptr;
  uint32_t stream = 0;
};

}  // namespace kn
