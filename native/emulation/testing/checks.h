#pragma once
#include <cstdint>

/// The parts of device_check. Each counts in `failures` what is wrong.
namespace kn::testing {

/// Everything in which threads meet.
void checkThreads();
/// The emulated runtime refuses what CUDA refuses, above all while a stream is captured.
void checkRules();
/// Fails one call of the runtime after the other, each `every`-th of them, in all that a program does with a device.
/// Prints a table.
void checkFailures(int64_t every);

}  // namespace kn::testing
