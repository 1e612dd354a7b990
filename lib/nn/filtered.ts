import type { Belief } from '../ops/belief.js';
import type { Tensor } from '../tensor.js';

/** Samples, and what is believed of their distribution: what flows between the layers of a Kalman network. */
export interface Filtered {
  x: Tensor;
  /** One belief for all samples; null where nothing is known, as of a network's input, and in inference. */
  belief: Belief | null;
}

/** Frees samples and belief. */
export function disposeFiltered({ x, belief }: Filtered): void {
  x.dispose();
  belief?.dispose();
}
