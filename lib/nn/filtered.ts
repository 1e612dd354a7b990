import { checkObjects, checkTensors } from '../arguments.js';
import type { Belief } from '../ops/belief.js';
import type { Tensor } from '../tensor.js';

/** Samples, and what is believed of their distribution: what flows between the layers of a Kalman network. */
export interface Filtered {
  x: Tensor;
  /** One belief for all samples; null where nothing is known, as of a network's input, and in inference. */
  belief: Belief | null;
  /**
   * Of a layer's result: what is believed of the layer's input now, where the layer has learnt something of it, as a
   * Kalman normalization does; a residual sum goes on with that.
   */
  input?: Belief | null;
}

/** The samples of a layer's result, without what is believed of them, which is freed. @internal */
export function samplesAlone(filtered: Filtered): Tensor {
  disposeFiltered(filtered, { x: filtered.x, belief: null });
  return filtered.x;
}

/** Frees samples and beliefs, but for what lives on in others, or is a module's parameter. */
export function disposeFiltered(filtered: Filtered, ...kept: readonly Filtered[]): void {
  for (const value of [filtered, ...kept]) {
    checkObjects('disposeFiltered', { filtered: value });
    checkTensors('disposeFiltered', { x: value.x });
  }
  const living = new Set(kept.flatMap(tensorsOf));
  for (const tensor of new Set(tensorsOf(filtered))) {
    if (tensor.role === 'value' && !living.has(tensor)) tensor.dispose();
  }
}

function tensorsOf({ x, belief, input }: Filtered): Tensor[] {
  return [x, ...[belief, input].flatMap((known) => (known ? [known.mean, known.variance] : []))];
}
