/// Checks of the emulated CUDA device for which Node is in the way.
///
///   device_check threads             what ThreadSanitizer watches
///   device_check rules               what CUDA refuses is refused
///   device_check failures [EVERY]    what becomes of the device where a call fails; each EVERY-th call, default 1
///
/// Exits with 1 where something is wrong.
#include <cstdlib>
#include <string>

#include "checks.h"
#include "network.h"

int main(int count, char** arguments) {
  const std::string part = count > 1 ? arguments[1] : "";
  try {
    if (part == "threads") {
      kn::testing::checkThreads();
    } else if (part == "rules") {
      kn::testing::checkRules();
    } else if (part == "failures") {
      kn::testing::checkFailures(count > 2 ? std::strtoll(arguments[2], nullptr, 10) : 1);
    } else {
      std::fprintf(stderr, "usage: %s threads | rules | failures [EVERY]\n", arguments[0]);
      return 2;
    }
    return kn::testing::failures == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "device_check: %s\n", error.what());
    return 1;
  }
}
