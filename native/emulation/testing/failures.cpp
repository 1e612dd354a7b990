/// One call of the runtime after the other fails, in all that a program does with a device: it is opened, trains by
/// itself and recorded, and is given up. Each time nothing may leak, what is thrown is typed, and the device goes on,
/// with the same bits, unless an access of its work has ended it.

#include <cinttypes>
#include <future>
#include <map>
#include <string>

#include "../failures.h"
#include "checks.h"
#include "network.h"

namespace kn::testing {
namespace {

using emulation::Failing;

/// Waits for the device as JavaScript does, and throws what its promise would.
void settle(Device& device) {
  std::promise<Failure> promise;
  device.whenDone([&promise](const Failure& failure) { promise.set_value(failure); });
  const Failure failure = promise.get_future().get();
  require(!failure, failure.code, failure.reason);
}

Values settled(Device& device, const Network& network) {
  std::vector<std::shared_ptr<std::vector<float>>> pending;
  for (const Tensor& tensor : network.tensors()) pending.push_back(startDownload(tensor));
  settle(device);
  Values all;
  for (const auto& values : pending) all.push_back(std::move(*values));
  return all;
}

/// A step by itself, and the others replayed.
Values train(Device& device) {
  Network network(device);
  network.reset();
  network.step();
  device.beginRecording();
  std::unique_ptr<Program> program;
  try {
    network.step();
    program = device.endRecording();
  } catch (...) {
    device.abandonRecording();
    throw;
  }
  device.replay(*program, kSteps - 1);
  device.queueDepth();
  const Values values = settled(device, network);
  program = nullptr;
  device.trimMemory();
  return values;
}

/// What became of the failures of a function.
struct Row {
  int64_t calls = 0, outOfMemory = 0, deviceFailed = 0, unavailable = 0, unnoticed = 0, leaks = 0, lost = 0;
};
using Table = std::map<std::string, Row>;

void print(const char* title, const Table& table) {
  std::printf("%s\n%-28s %6s %14s %14s %12s %10s %6s %5s\n", title, "function", "calls", "OUT_OF_MEMORY",
              "DEVICE_FAILED", "UNAVAILABLE", "no error", "leaks", "lost");
  Row sum;
  const auto line = [](const std::string& name, const Row& row) {
    std::printf("%-28s %6" PRId64 " %14" PRId64 " %14" PRId64 " %12" PRId64 " %10" PRId64 " %6" PRId64 " %5" PRId64
                "\n",
                name.c_str(), row.calls, row.outOfMemory, row.deviceFailed, row.unavailable, row.unnoticed, row.leaks,
                row.lost);
  };
  for (const auto& [name, row] : table) {
    line(name, row);
    for (const auto member : {&Row::calls, &Row::outOfMemory, &Row::deviceFailed, &Row::unavailable, &Row::unnoticed,
                              &Row::leaks, &Row::lost})
      sum.*member += row.*member;
  }
  line("all", sum);
}

/// Whether a device does what it did before any failure, or, where its context has ended, whether it says so.
bool sound(Device& device, Failing how, const Values& expected) {
  try {
    const Values again = train(device);
    return how == Failing::Once && again == expected;
  } catch (const Error& error) {
    if (how == Failing::Once) std::fprintf(stderr, "device_check: afterwards: %s\n", error.what());
    return how == Failing::ForGood && error.code == ErrorCode::DeviceFailed;
  }
}

/// One life with a failure in it.
void fail(int64_t call, Failing how, const Values& expected, Table& table) {
  const emulation::LiveObjects before = emulation::liveObjects();
  std::string function, problem;
  Row row{.calls = 1};
  {
    std::unique_ptr<Device> device;
    emulation::failCall(call, how);
    try {
      device = open(Precision::BFloat16);
      const Values values = train(*device);
      ++row.unnoticed;
      if (values != expected) problem = "no error, but other results";
    } catch (const Error& error) {
      row.outOfMemory = error.code == ErrorCode::OutOfMemory;
      row.deviceFailed = error.code == ErrorCode::DeviceFailed;
      row.unavailable = error.code == ErrorCode::DeviceUnavailable;
      if (row.outOfMemory + row.deviceFailed + row.unavailable == 0) problem = error.what();
    }
    if (const char* name = emulation::failedCall()) function = name;
    if (device && !function.empty() && !sound(*device, how, expected)) row.lost = 1;
  }
  emulation::failCall(0, how);
  row.leaks = emulation::liveObjects() != before;
  if (function.empty()) return;  // of a thread that came to fewer calls this time
  if (problem.empty() && row.leaks) problem = "something leaks";
  if (problem.empty() && row.lost) problem = "the device is not what it should be afterwards";
  if (!problem.empty()) check(false, ("call " + std::to_string(call) + ", " + function + ": " + problem).c_str());
  Row& sum = table[function];
  for (const auto member : {&Row::calls, &Row::outOfMemory, &Row::deviceFailed, &Row::unavailable, &Row::unnoticed,
                            &Row::leaks, &Row::lost})
    sum.*member += row.*member;
}

}  // namespace

void checkFailures(int64_t every) {
  Values expected;
  for (int i = 0; i < 2; ++i) {  // kernels are loaded once, and what a first use makes stays
    emulation::failCall(0, Failing::Once);
    expected = train(*open(Precision::BFloat16));
  }
  const int64_t calls = emulation::callCount();
  Table once, forGood;
  for (int64_t call = 1; call <= calls; call += every) {
    fail(call, Failing::Once, expected, once);
    fail(call, Failing::ForGood, expected, forGood);
  }
  std::printf("%" PRId64 " calls of the runtime in a life of a device; each %" PRId64 ". of them fails.\n\n", calls,
              every);
  print("The call fails, and what comes after it succeeds:", once);
  std::printf("\n");
  print("The call finds the device ended by an illegal access:", forGood);
}

}  // namespace kn::testing
