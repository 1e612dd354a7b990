import type { Moments } from '../ops/moments.js';
import type { Tensor } from '../tensor.js';

/**
 * What a Kalman normalization found in one training step, for whoever looks on. Vectors of S·C values, split-major, or of
 * C where all splits have the same. They are freed behind the call: read them within (`data()` may be awaited later).
 */
export interface FilterStep {
  /** What the layers before make of their own outputs; null where nothing is known. */
  readonly prior: Moments | null;
  /** What the observation is fused with: the prior, corrected by what earlier steps have taught where the filter does so. */
  readonly belief: Moments | null;
  /** Mean and biased variance of the samples. */
  readonly observation: Moments;
  /** What is normalized by. */
  readonly posterior: Moments;
  /** Weights of the observation. */
  readonly gain: { readonly mean: Tensor | number; readonly variance: Tensor | number };
  /** The guard of the reference's filter, [2]: its ratio, and 1 where the prior was used. */
  readonly guard?: Tensor;
}

/** Looks on at a step; enqueues no more than reads. */
export type FilterObserver = (step: FilterStep) => void;
