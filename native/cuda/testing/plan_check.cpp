/// Asks cuDNN, without a device, for a plan of every graph that the networks run. Needs a libcuda.so.1 that can be
/// loaded (libcuda_stub.c serves), because cuDNN compiles its normalizations for the device at hand.
///
///   plan_check [--arch 80,89,90,100,120] [--type fp32,tf32,fp16,bf16] [--quick]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "../nvidia/dnn_plans.h"

namespace kn::cuda::dnn {
namespace {

/// What cuDNN's heuristics know of a device.
struct Device {
  const char* name;
  int capability, processors, sharedMemory, threads, blocks;
  int64_t memory, cache;
  int clock, memoryClock;
};

constexpr Device kDevices[] = {
    {"sm_80 (A100)", 800, 108, 166912, 2048, 32, 85'000'000'000, 40 << 20, 1410000, 1593000},
    {"sm_89 (RTX 4090)", 890, 128, 101376, 1536, 24, 25'000'000'000, 72 << 20, 2520000, 10501000},
    {"sm_90 (H100)", 900, 132, 232448, 2048, 32, 85'000'000'000, 50 << 20, 1980000, 2619000},
    {"sm_100 (B200)", 1000, 148, 232448, 2048, 32, 191'000'000'000, 126 << 20, 1965000, 3996000},
    {"sm_120 (RTX 5090)", 1200, 170, 101376, 1536, 24, 34'000'000'000, 96 << 20, 2407000, 14001000},
};

std::string jsonOf(const Device& d) {
  std::string json;
  const auto add = [&](const char* name, const std::string& value) {
    json += std::string(json.empty() ? "{" : ",") + '"' + name + "\":" + value;
  };
  const auto number = [&](const char* name, int64_t value) { add(name, std::to_string(value)); };
  add("deviceName", '"' + std::string(d.name) + '"');
  add("maxBlockSize", "[1024,1024,64]");
  add("maxGridSize", "[2147483647,65535,65535]");
  number("deviceVer", d.capability);
  number("driverVer", CUDART_VERSION);
  number("cudaDeviceId", 0);
  number("pciDeviceId", 0);
  number("isTccDriver", 0);
  number("supportCoopLaunch", 1);
  number("multiProcessorCount", d.processors);
  number("warpSize", 32);
  number("maxSharedMemoryPerBlock", 49152);
  number("maxSharedMemoryPerBlockOptin", d.sharedMemory);
  number("reservedSharedMemoryPerBlock", 1024);
  number("maxRegistersPerSM", 65536);
  number("regsPerBlock", 65536);
  number("maxCtasPerSM", d.blocks);
  number("maxThreadsPerBlock", 1024);
  number("maxThreadsPerSM", d.threads);
  number("totalGlobalMem", d.memory);
  number("l2CacheSize", d.cache);
  number("smClockRateKHz", d.clock);
  number("memClockRateKHz", d.memoryClock);
  return json + '}';
}

// --- the networks ---------------------------------------------------------------------------------------------------

/// A convolution of square images; `before` and `after` are its padding.
struct Layer {
  int64_t in, size, out, kernel, stride, before, after;

  int64_t outSize() const { return (size + before + after - kernel) / stride + 1; }
  bool operator==(const Layer&) const = default;
};

/// ResNet-32 and ResNet-110 of any number of blocks: three stages, with TensorFlow's SAME padding.
std::vector<Layer> cifarLayers() {
  return {{3, 32, 16, 3, 1, 1, 1},  {16, 32, 16, 3, 1, 1, 1}, {16, 32, 32, 3, 2, 0, 1},
          {32, 16, 32, 3, 1, 1, 1}, {32, 16, 64, 3, 2, 0, 1}, {64, 8, 64, 3, 1, 1, 1}};
}

/// ResNet-50 with the stride in the 3x3 convolution.
std::vector<Layer> imageNetLayers() {
  std::vector<Layer> layers = {{3, 224, 64, 7, 2, 3, 3}};
  int64_t in = 64, size = 56;
  for (const int64_t width : {64, 128, 256, 512}) {
    const int64_t stride = width == 64 ? 1 : 2, half = size / stride, out = 4 * width;
    layers.insert(layers.end(), {{in, size, width, 1, 1, 0, 0},
                                 {in, size, out, 1, stride, 0, 0},
                                 {width, size, width, 3, stride, 1, 1},
                                 {width, half, out, 1, 1, 0, 0},
                                 {out, half, width, 1, 1, 0, 0},
                                 {width, half, width, 3, 1, 1, 1}});
    in = out;
    size = half;
  }
  return layers;
}

/// Adds what is not there yet: networks repeat their layers.
template <class Problem>
void addNew(std::vector<Problem>& problems, const Problem& problem) {
  for (const Problem& known : problems) {
    if (known == problem) return;
  }
  problems.push_back(problem);
}

struct Problems {
  std::vector<Convolution> convolutions;
  std::vector<DnnBatchNorm> batchNorms;

  void add(const Layer& layer, int64_t batch, DType type, bool tf32) {
    const int64_t size = layer.outSize();
    const op::ConvShape shape = {layer.stride, layer.stride, layer.before, layer.before, layer.after, layer.after};
    for (const auto direction : {Direction::Forward, Direction::BackwardData, Direction::BackwardWeights}) {
      addNew(convolutions, {direction, type, tf32, batch, layer.in, layer.size, layer.size, layer.out, layer.kernel,
                            layer.kernel, size, size, shape});
    }
    // TF32 is about products: normalizations are those of float32. A batch of 192 has virtual samples, which are no
    // matter of cuDNN's normalization.
    if (!tf32 && batch != 192) addNew(batchNorms, {type, batch, layer.out, size, size});
  }
};

Problems problemsOf(DType type, bool tf32, bool quick) {
  Problems problems;
  for (const int64_t batch : {128, 192, 2}) {
    if (quick && batch != 128) continue;
    for (const Layer& layer : cifarLayers()) problems.add(layer, batch, type, tf32);
  }
  if (!quick) {
    for (const Layer& layer : imageNetLayers()) problems.add(layer, 32, type, tf32);
  }
  return problems;
}

// --- the check ------------------------------------------------------------------------------------------------------

struct Type {
  const char* name;
  DType type;
  bool tf32;
};

constexpr Type kTypes[] = {
    {"fp32", DType::F32, false}, {"tf32", DType::F32, true}, {"fp16", DType::F16, false}, {"bf16", DType::BF16, false}};

/// Prints a line, and gives the number of graphs without a plan.
int check(const Device& device, const Type& type, bool quick) {
  const Descriptor properties = deviceProperties(jsonOf(device));
  Plans plans({nullptr, &properties}, true);
  const Problems problems = problemsOf(type.type, type.tf32, quick);
  const size_t graphs = problems.convolutions.size() + 2 * problems.batchNorms.size();
  std::set<int64_t> engines;
  std::vector<std::string> failures;
  size_t largest = 0;
  const auto ask = [&](const auto& find) {
    try {
      const Plan& plan = find().current();
      engines.insert(plan.engine());
      largest = std::max(largest, plan.workspaceBytes());
    } catch (const Error& error) {
      failures.emplace_back(error.what());
    }
  };
  const auto start = std::chrono::steady_clock::now();
  for (const auto& problem : problems.convolutions) {
    ask([&]() -> Plans::Choice& { return plans.convolution(problem); });
  }
  for (const auto& problem : problems.batchNorms) {
    for (const bool backward : {false, true}) {
      ask([&]() -> Plans::Choice& { return plans.batchNorm(problem, backward); });
    }
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("%-18s %s: %3zu graphs, %3zu plans by %2zu engines, scratch up to %5.1f MiB, %5.1f s\n", device.name,
              type.name, graphs, graphs - failures.size(), engines.size(), static_cast<double>(largest) / (1 << 20),
              time.count());
  for (const auto& failure : failures) std::printf("  FAILED: %s\n", failure.c_str());
  std::fflush(stdout);
  return static_cast<int>(failures.size());
}

/// A check that cannot fail shows nothing: a normalization on a device that is too old for it has to be refused.
int checkRefusal() {
  Device old = kDevices[0];
  old.name = "sm_75";
  old.capability = 750;
  const Descriptor properties = deviceProperties(jsonOf(old));
  try {
    Plans({nullptr, &properties}, true).batchNorm({DType::BF16, 128, 16, 32, 32}, false);
  } catch (const Error& error) {
    std::printf("An impossible graph is refused: %s\n", error.what());
    return 0;
  }
  std::printf("FAILED: an impossible graph was not refused\n");
  return 1;
}

/// Whether a comma-separated list has a name; an empty list has all.
bool has(const std::string& list, const std::string& name) {
  return list.empty() || (',' + list + ',').find(',' + name + ',') != std::string::npos;
}

int run(int count, char** arguments) {
  std::string archs, types;
  bool quick = false;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--quick") {
      quick = true;
    } else if ((argument == "--arch" || argument == "--type") && i + 1 < count) {
      (argument == "--arch" ? archs : types) = arguments[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--arch 80,89,90,100,120] [--type fp32,tf32,fp16,bf16] [--quick]\n",
                   arguments[0]);
      return 2;
    }
  }
  requireVersion(cudnnGetVersion());
  std::printf("cuDNN %s\n", versionText(cudnnGetVersion()).c_str());
  int lines = 0, failures = checkRefusal();
  for (const Device& device : kDevices) {
    if (!has(archs, std::to_string(device.capability / 10))) continue;
    for (const Type& type : kTypes) {
      if (!has(types, type.name)) continue;
      failures += check(device, type, quick);
      ++lines;
    }
  }
  if (lines == 0) std::fprintf(stderr, "nothing to check: no such --arch or --type\n");
  return lines == 0 ? 2 : failures > 0;
}

}  // namespace
}  // namespace kn::cuda::dnn

int main(int count, char** arguments) {
  // cuDNN's own messages go into the errors.
  setenv("CUDNN_LOGLEVEL_DBG", "0", 0);
  try {
    return kn::cuda::dnn::run(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
