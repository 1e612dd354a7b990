#pragma once
#include <algorithm>

#include "grid.cuh"

/// How the kernels of statistics and normalization cut an activation. In NHWC a split is `rows` consecutive rows of
/// `channels` values. A block takes a chunk of the rows of one split and a slab of its channels: a thread holds one
/// pack of channels and walks over every `threadRows`-th row. The cut depends on the problem alone, never on the GPU,
/// and sums are merged in a fixed order, so results are the same bits everywhere.
namespace kn::cuda {

struct Planes {
  int64_t rows;  ///< of a split: samples·pixels
  int64_t channels;
  int64_t splits;
  int64_t chunkRows;  ///< rows of a block; the last one of a split may have fewer
  int64_t firstRow;   ///< where split 0 begins
  int chunks;         ///< blocks along the rows of a split
  int width;          ///< packs of channels in a slab
  int slabs;
  int threadRows;  ///< rows in flight in a block

  dim3 threads() const { return dim3(static_cast<unsigned>(width * threadRows)); }
  int64_t blocks() const { return splits * slabs * chunks; }
  dim3 grid() const { return dim3(static_cast<unsigned>(blocks())); }
  __host__ __device__ int64_t cells() const { return splits * channels; }
  /// Entries of a vector with one for every chunk of every cell: chunk k of cell i is entry i·chunks + k.
  int64_t parts() const { return cells() * chunks; }
};

constexpr int kBlockThreads = 256;

/// How many rows a thread walks over.
struct Cut {
  int64_t least;  ///< fewer aren't worth the start of a thread
  int64_t most;
  bool merged;  ///< chunks have to be merged: where there are many splits they stay whole if they can
};
/// Sums in float stay short. Squares are what sets the limit: values on a coarse grid, as large means make it, have
/// squares whose last bits are biased, and so is the rounding of a sum that has outgrown these bits.
constexpr Cut kSumCut{8, 32, true};
/// Short walks balance the load of the multiprocessors.
constexpr Cut kMapCut{4, 16, false};

/// Enough blocks to fill the largest GPU a few times.
constexpr int64_t kEnoughBlocks = 1024;
constexpr int64_t kManySplits = 64;

inline void cutRows(Planes& p, const Cut& cut) {
  const int64_t cells = p.splits * p.slabs;
  const int64_t most = ceilDivide(p.rows, p.threadRows * cut.least),
                least = ceilDivide(p.rows, p.threadRows * cut.most);
  const bool whole = cut.merged && cells >= kManySplits && least == 1;
  const int64_t chunks = whole ? 1 : std::max(least, std::min(most, ceilDivide(kEnoughBlocks, cells)));
  p.chunkRows = ceilDivide(p.rows, chunks);
  p.chunks = static_cast<int>(ceilDivide(p.rows, p.chunkRows));
}

constexpr int kMostPacks = 32;  ///< of channels, in a slab

/// `pack`: channels of one access.
inline Planes planesOf(const op::Act& x, int64_t splits, int pack, const Cut& cut, int mostPacks = kMostPacks) {
  Planes p{};
  p.rows = x.n / splits * x.pixels();
  p.channels = x.c;
  p.splits = splits;
  const int64_t packs = x.c / pack;
  p.slabs = static_cast<int>(ceilDivide(packs, mostPacks));
  p.width = static_cast<int>(ceilDivide(packs, p.slabs));
  p.threadRows = static_cast<int>(std::min<int64_t>(kBlockThreads / p.width, p.rows));
  cutRows(p, cut);
  return p;
}

/// The cut of one sample a split, from row `firstRow` on, by blocks of the same shape as those of `like`.
inline Planes planesBehind(const Planes& like, int64_t firstRow, int64_t pixels, const Cut& cut) {
  Planes p = like;
  p.firstRow = firstRow;
  p.rows = pixels;
  cutRows(p, cut);
  return p;
}

/// A thread's place in the cut.
struct Place {
  int threadRow;  ///< which of the rows in flight
  int chunk;
  int64_t split;
  int64_t channel;     ///< first of its pack
  int64_t cell;        ///< split·C + channel
  int64_t begin, end;  ///< rows of the chunk within the split
  int64_t offset;      ///< of the split's first value of this channel
  /// False beyond the last channel. Such threads have no rows and stand at channel 0, but take part in barriers.
  bool active;

  __device__ __forceinline__ int64_t at(const Planes& p, int64_t row) const { return offset + row * p.channels; }
  /// The thread that has the sums of its channels.
  __device__ __forceinline__ bool leads() const { return active && threadRow == 0; }
};

/// `block`: counted from the first one of this cut.
template <int V>
__device__ __forceinline__ Place placeOf(const Planes& p, unsigned block) {
  Place place;
  const int x = static_cast<int>(threadIdx.x) % p.width;
  place.threadRow = static_cast<int>(threadIdx.x) / p.width;
  const unsigned slab = block % p.slabs, chunks = block / p.slabs;
  place.chunk = static_cast<int>(chunks % p.chunks);
  place.split = chunks / p.chunks;
  place.channel = (static_cast<int64_t>(slab) * p.width + x) * V;
  place.active = place.channel < p.channels;
  if (!place.active) place.channel = 0;
  place.cell = place.split * p.channels + place.channel;
  place.begin = place.chunk * p.chunkRows;
  place.end = place.begin + p.chunkRows < p.rows ? place.begin + p.chunkRows : p.rows;
  if (!place.active) place.end = place.begin;
  place.offset = (p.firstRow + place.split * p.rows) * p.channels + place.channel;
  return place;
}

template <int V>
__device__ __forceinline__ Place placeOf(const Planes& p) {
  return placeOf<V>(p, blockIdx.x);
}

/// Calls `use(at, read(at))` for each row of a thread, `at` being the index of its first value. R rows are read before
/// the first one is used, so that enough of them are on their way; hence `use` may write where `read` reads.
template <int R, class Read, class Use>
__device__ __forceinline__ void walk(const Planes& p, const Place& place, const Read& read, const Use& use) {
  int64_t row = place.begin + place.threadRow;
  for (; row + (R - 1) * p.threadRows < place.end; row += R * p.threadRows) {
    decltype(read(row)) values[R];
#pragma unroll
    for (int r = 0; r < R; ++r) values[r] = read(place.at(p, row + r * p.threadRows));
#pragma unroll
    for (int r = 0; r < R; ++r) use(place.at(p, row + r * p.threadRows), values[r]);
  }
  for (; row < place.end; row += p.threadRows) use(place.at(p, row), read(place.at(p, row)));
}

/// V floats of a vector; a null one reads as `missing`. For V > 1 the address is aligned to 16 bytes.
template <int V>
__device__ __forceinline__ Pack<V> loadVector(const float* values, int64_t at, float missing = 0) {
  return values ? loadFloats<V>(values + at) : broadcast<V>(missing);
}

/// Sums `values` of the block's threads that hold the same channels, in a fixed order; the first row of threads gets
/// the result. K packs a thread. All threads of the block must call it.
template <int K, int V>
__device__ __forceinline__ void sumLanes(const Planes& p, Pack<V> (&values)[K]) {
  KN_SHARED(float, shared, [K * V * kBlockThreads]);
  const int thread = static_cast<int>(threadIdx.x), threads = p.width * p.threadRows;
  const int threadRow = thread / p.width;
  // Value-major, so that neighbouring threads meet different banks.
  float* const mine = shared + thread;
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int i = 0; i < V; ++i) mine[(k * V + i) * threads] = values[k][i];
  }
  __syncthreads();
  for (int count = p.threadRows; count > 1;) {
    const int half = (count + 1) / 2;
    if (threadRow < count - half) {
#pragma unroll
      for (int k = 0; k < K * V; ++k) mine[k * threads] += mine[k * threads + half * p.width];
    }
    __syncthreads();
    count = half;
  }
#pragma unroll
  for (int k = 0; k < K; ++k) {
#pragma unroll
    for (int i = 0; i < V; ++i) values[k][i] = mine[(k * V + i) * threads];
  }
}

// --- merging --------------------------------------------------------------------------------------------------------

/// In the small kernels that merge chunks, `size` neighbouring threads, a power of two, share a sum. Blocks have
/// kBlockThreads threads.
struct Team {
  int size;

  /// Threads for `count` values: a few for each.
  static Team of(int64_t count) {
    int size = 1;
    while (size < kBlockThreads && size * 4 < count) size *= 2;
    return {size};
  }
  __host__ __device__ int inBlock() const { return kBlockThreads / size; }
  dim3 grid(int64_t sums) const { return dim3(static_cast<unsigned>(ceilDivide(sums, inBlock()))); }

  __device__ __forceinline__ int member() const { return static_cast<int>(threadIdx.x) % size; }
  __device__ __forceinline__ int inBlockIndex() const { return static_cast<int>(threadIdx.x) / size; }
  /// Which of all sums this thread works for.
  __device__ __forceinline__ int64_t index() const {
    return static_cast<int64_t>(blockIdx.x) * inBlock() + inBlockIndex();
  }
};

/// Sums over the members of each team, in a fixed order; all members get the result. All threads must call it. Where
/// their number is no multiple of a team's, what is left of them gets nothing of use.
template <int K>
__device__ __forceinline__ void sumTeam(const Team& team, double (&values)[K]) {
  KN_SHARED(double, shared, [K * kBlockThreads]);
  double* const mine = shared + threadIdx.x;
  __syncthreads();  // whoever still reads the last result
#pragma unroll
  for (int k = 0; k < K; ++k) mine[k * kBlockThreads] = values[k];
  __syncthreads();
  for (int half = team.size / 2; half > 0; half /= 2) {
    if (team.member() < half && threadIdx.x + half < blockDim.x) {
#pragma unroll
      for (int k = 0; k < K; ++k) mine[k * kBlockThreads] += mine[k * kBlockThreads + half];
    }
    __syncthreads();
  }
#pragma unroll
  for (int k = 0; k < K; ++k) values[k] = mine[k * kBlockThreads - team.member()];
}

/// Sums of up to `terms` terms for each of `count` channels from `first` on, by a block of so many threads:
/// `add(channel, member, members, sums)` adds what one of the members of a team has, `finish(channel, sums)` gets all,
/// in one thread. All threads of the block must call it.
template <int K, class Add, class Finish>
__device__ __forceinline__ void overChannels(int64_t first, int count, int64_t terms, int threads, const Add& add,
                                             const Finish& finish) {
  Team team{1};
  while (team.size * 2 * count <= threads && team.size < terms) team.size *= 2;
  const int teams = threads / team.size;
  for (int begin = 0; begin < count; begin += teams) {
    const int index = begin + team.inBlockIndex();
    // What is left of the threads is no team.
    const bool active = team.inBlockIndex() < teams && index < count;
    double sums[K] = {};
    if (active) add(first + index, team.member(), team.size, sums);
    sumTeam(team, sums);
    if (active && team.member() == 0) finish(first + index, sums);
  }
}

}  // namespace kn::cuda
