#pragma once
#include <vector_types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "fibers.h"

// The names that kernels use. Initial-exec: one instruction an access, also in a library that is opened at run time.
extern constinit thread_local uint3 threadIdx __attribute__((tls_model("initial-exec")));
extern constinit thread_local uint3 blockIdx __attribute__((tls_model("initial-exec")));
extern constinit thread_local dim3 blockDim __attribute__((tls_model("initial-exec")));
extern constinit thread_local dim3 gridDim __attribute__((tls_model("initial-exec")));

namespace kn::emulation {

struct Launch;

/// Where in the source a kernel stands.
struct Place {
  const char* file = nullptr;
  int line = 0;
};

/// In which order the threads and blocks get their turn: a kernel must not depend on it.
struct Order {
  enum Kind { Ascending, Descending, Shuffled } kind = Ascending;
  unsigned seed = 1;
};

/// Runs blocks, one after another, on the calling OS thread. A thread that has to wait is suspended on its fiber, and
/// the next one goes on; one that never waits costs no more than a call, for the next then starts on the same fiber.
class BlockRunner {
 public:
  explicit BlockRunner(Order order);
  ~BlockRunner();

  /// The one of the calling OS thread.
  static BlockRunner& local(Order order);
  /// The one that is running the calling thread of a kernel.
  static BlockRunner& current();

  void run(const Launch& launch, uint3 block);

  // For the threads of a kernel.
  void barrier(Place place);
  /// Hands a value to all lanes of the warp; returns the values of all, valid until the next exchange. Only `ordered`
  /// ones make memory visible.
  const uint64_t* exchange(uint64_t value, bool ordered, Place place);
  /// The block's memory for the variable that `key` stands for.
  void* shared(const void* key, size_t bytes);
  int lane() const { return current_ % 32; }
  /// Ends the process, with the place, the kernel, the block and the thread.
  [[noreturn]] void fail(const char* what, Place place) const;

 private:
  struct Thread {
    uint3 index;
    Fiber* fiber;  ///< null until the thread has had its first turn
  };
  struct Warp {
    uint32_t ready;  ///< a bit for each thread that can go on, in the order of their turns
    int lanes, arrived;
    bool odd;
    Place place;
    uint64_t values[2][32];  ///< in turns: a lane may be one exchange ahead
    char edges[2];           ///< what ThreadSanitizer's edges are tied to
  };
  struct Variable {
    const void* key;
    void* memory;
  };

  static void fiberMain();
  void prepare(dim3 block);
  int next();
  Fiber* fiberFor(int thread);
  void suspend();
  void goOn();
  void finish();
  [[noreturn]] void deadlock();

  const Order order_;
  int laneOrder_[32], turnOfLane_[32];
  dim3 shape_{0, 0, 0};
  const Launch* launch_ = nullptr;
  int count_ = 0, warpCount_ = 0, cursor_ = 0;
  int current_ = 0, alive_ = 0, arrived_ = 0;
  bool odd_ = false;
  Place barrierPlace_;
  char barrierEdges_[2];
  std::unique_ptr<Thread[]> threadMemory_;
  std::unique_ptr<Warp[]> warpMemory_;
  std::unique_ptr<int[]> warpOrderMemory_;
  Thread* threads_ = nullptr;  // plain pointers, since ThreadSanitizer watches what the smart ones do
  Warp* warps_ = nullptr;
  int* warpOrder_ = nullptr;

  Fiber home_;
  Fiber* running_ = &home_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
  Fiber* fiberOfThread_[1024];  ///< for ThreadSanitizer, as the following two
  char blockEdges_[2];
  bool blockIsOdd_ = false;

  char* sharedMemory_;
  size_t sharedUsed_ = 0;
  int variableCount_ = 0;
  Variable variables_[32];
};

}  // namespace kn::emulation
