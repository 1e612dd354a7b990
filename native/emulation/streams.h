#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime.h"

struct CUgraphNode_st {
  cudaGraphNodeType kind;
  std::function<void()> work;
  std::vector<size_t> after;  ///< the nodes that it waits for, all before it in the graph
  std::function<std::string()> name;
};

struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
};

namespace kn::emulation {

/// A graph in the making: of the stream where it began, and of those that have come to depend on it since. Guarded by
/// the registry's mutex.
struct Capture {
  std::unique_ptr<CUgraph_st> graph = std::make_unique<CUgraph_st>();
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool lost = false;
};

}  // namespace kn::emulation

/// A thread with a queue.
struct CUstream_st {
  explicit CUstream_st(int device);
  ~CUstream_st();

  /// Work that runs `always` does so on a device that has failed too: those who wait must be let go.
  void append(std::function<void()> work, bool always);
  void wait();
  bool idle();

  const int device;
  /// Set while the stream is being captured, with the nodes that its next one waits for; both guarded by the registry's
  /// mutex.
  std::shared_ptr<kn::emulation::Capture> capture;
  std::vector<size_t> tail;

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
  int device = 0;
  std::shared_ptr<kn::emulation::Completion> last;   ///< null until recorded
  std::shared_ptr<kn::emulation::Capture> captured;  ///< the capture in which it was last recorded
  std::vector<size_t> tail;                          ///< what was before it there
  bool timing = true;
};

namespace kn::emulation {

/// All streams and events that exist.
struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<CUstream_st>> streams;
  std::vector<std::shared_ptr<CUevent_st>> events;
  std::map<int, std::shared_ptr<CUstream_st>> standard;  ///< the null stream of each device

  static Registry& instance();
  /// Null if there is no such stream, or event.
  std::shared_ptr<CUstream_st> find(cudaStream_t stream);
  std::shared_ptr<CUevent_st> find(cudaEvent_t event);
  std::vector<std::shared_ptr<CUstream_st>> all();
};

/// Graphs and executable graphs that exist.
extern std::atomic<int64_t> liveGraphs, liveExecutables;

}  // namespace kn::emulation
