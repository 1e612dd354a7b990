#pragma once
#include "gradient.cuh"
#include "whole_splits.cuh"

/// The gradient of a normalization whose statistics belong to single channels: in one launch where a split is one
/// block's, else in three. What is the normalization's own is a `Rule`:
///   norm                      what was normalized by
///   kVectors                  2, or 3 where dx has an offset
///   kTerms                    how many numbers a cell adds to those of its channel
///   cell(p, split, channel, g, gx, vectors, terms)  from the sums of a cell: what dx is made of, and its terms
///   channel(channel, totals)  from the sums of all terms: the gradients of the channel
namespace kn::cuda {

/// A block a channel.
template <class Rule>
__global__ void mergeGradientSums(Planes p, GradientParts parts, Team team, Rule rule, GradientVectors vectors) {
  const int64_t channel = blockIdx.x;
  double totals[Rule::kTerms];
  overSplits(parts, p, team, channel, totals, [&](int64_t split, double g, double gx, double(&sums)[Rule::kTerms]) {
    double terms[Rule::kTerms];
    rule.cell(p, split, channel, g, gx, vectors, terms);
#pragma unroll
    for (int k = 0; k < Rule::kTerms; ++k) sums[k] += terms[k];
  });
  if (threadIdx.x == 0) rule.channel(channel, totals);
}

/// What a launch leaves of its cells in scratch memory.
struct CellSums {
  GradientVectors vectors;
  GradientParts parts;
  float* terms;  ///< term k of a cell is entry k·cells + cell

  template <class Rule>
  static constexpr int kFloats = Rule::kVectors + GradientParts::kVectors + Rule::kTerms;

  template <class Rule>
  static CellSums in(float* memory, int64_t cells) {
    float* const parts = memory + Rule::kVectors * cells;
    return {vectorsIn<Rule>(memory, cells), {parts, parts + cells}, parts + GradientParts::kVectors * cells};
  }
  template <class Rule>
  static GradientVectors vectorsIn(float* memory, int64_t cells) {
    return {memory, memory + cells, Rule::kVectors > 2 ? memory + 2 * cells : nullptr};
  }
};

template <class T, int V, class Rule>
__global__ void gradientOfWhole(Planes p, const T* x, const T* dy, const T* add, T* dx, Rule rule, CellSums cells,
                                unsigned* tickets) {
  constexpr int K = Rule::kTerms;
  const Place place = placeOf<V>(p);
  const Slab slab = Slab::ofBlock<V>(p);
  const int threads = p.width * p.threadRows;
  const Affine<V> affine = affineOf<V>(rule.norm, p, place);
  Pack<V> sums[2];
  gradientSums(p, place, x, dy, affine, rule.norm.relu, sums);
  storeSums(cells.parts, p, place, sums);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < slab.count; i += threads) {
    const int64_t channel = slab.first + i, cell = place.split * p.channels + channel;
    double terms[K];
    rule.cell(p, place.split, channel, cells.parts.g[cell], cells.parts.gx[cell], cells.vectors, terms);
#pragma unroll
    for (int k = 0; k < K; ++k) cells.terms[k * p.cells() + cell] = static_cast<float>(terms[k]);
  }
  __syncthreads();
  gradientRows(p, place, x, dy, add, dx, affine, gradientOf<V>(cells.vectors, rule.norm, p, place), rule.norm.relu);
  finishSlabs<V>(p, tickets, [&](const Slab& finished) {
    overChannels<K>(
        finished.first, finished.count, p.splits, threads,
        [&](int64_t channel, int member, int members, double(&totals)[K]) {
          for (int64_t split = member; split < p.splits; split += members) {
#pragma unroll
            for (int k = 0; k < K; ++k) totals[k] += cells.terms[(k * p.splits + split) * p.channels + channel];
          }
        },
        [&](int64_t channel, const double(&totals)[K]) { rule.channel(channel, totals); });
  });
}

/// Enqueues dx and whatever the rule writes; `add` may have no data.
template <class Rule>
void channelGradient(const op::Act& x, const op::Act& dy, const op::Act& add, const op::Act& dx, int64_t splits,
                     const Rule& rule, Context& context) {
  const Norm& norm = rule.norm;
  const int64_t cells = splits * x.c;
  forPacks(
      x.stored, x.c,
      [&]<class T, int V>() {
        const Planes p = wholeSplits<T, V>(x, splits);
        const bool whole = p.chunks == 1;
        const auto memory = context.scratch((whole ? CellSums::kFloats<Rule> : Rule::kVectors) * cells * sizeof(float));
        float* const values = static_cast<float*>(memory->data);
        if (whole) {
          return launch(gradientOfWhole<T, V, Rule>, p.grid(), p.threads(), 0, context.stream, p, x.values<T>(),
                        dy.values<T>(), add.values<T>(), dx.values<T>(), rule, CellSums::in<Rule>(values, cells),
                        context.tickets);
        }
        const GradientVectors vectors = CellSums::vectorsIn<Rule>(values, cells);
        const GradientSums sums = sumGradients(x, dy, splits, norm, context);
        launch(mergeGradientSums<Rule>, dim3(static_cast<unsigned>(x.c)), kBlockThreads, 0, context.stream, sums.planes,
               sums.parts, Team::of(sums.planes.chunks), rule, vectors);
        applyGradients(x, dy, add, dx, splits, norm, vectors, context);
      },
      x.data, dy.data, add.data, dx.data, norm.mean, norm.var, norm.gamma, norm.beta);
}

}  // namespace kn::cuda
