#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime.h"

struct CUgraphNode_st {
  cudaGraphNodeType kind;
  std::function<void()> work;
};

struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

/// A thread with a queue.
struct CUstream_st {
  CUstream_st();
  ~CUstream_st();

  /// Work that runs `always` does so on a device that has failed too: those who wait must be let go.
  void append(std::function<void()> work, bool always);
  void wait();
  bool idle();

  /// Set while the stream is being captured.
  struct Capture {
    std::unique_ptr<CUgraph_st> graph = std::make_unique<CUgraph_st>();
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool lost = false;
  };
  std::unique_ptr<Capture> capture;  ///< guarded by the registry's mutex

 private:
  struct Work {
    std::function<void()> run;
    bool always;
  };
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_, idle_;
  std::deque<Work> queue_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

namespace kn::emulation {

/// What an event stands for once it has been recorded.
struct Completion {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::chrono::steady_clock::time_point time;

  void complete();
  void wait();
  bool isDone();
};

}  // namespace kn::emulation

struct CUevent_st {
  std::shared_ptr<kn::emulation::Completion> last;  ///< null until recorded
  cudaStream_t captured = nullptr;                  ///< the capture in which it was last recorded
  bool timing = true;
};

namespace kn::emulation {

/// All streams and events that exist.
struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<CUstream_st>> streams;
  std::vector<std::shared_ptr<CUevent_st>> events;
  std::shared_ptr<CUstream_st> standard;  ///< the null stream

  static Registry& instance();
  /// Null if there is no such stream, or event.
  std::shared_ptr<CUstream_st> find(cudaStream_t stream);
  std::shared_ptr<CUevent_st> find(cudaEvent_t event);
  std::vector<std::shared_ptr<CUstream_st>> all();
};

}  // namespace kn::emulation
