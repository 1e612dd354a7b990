import { check } from '../errors.js';

/** A class that an image may belong to. */
export interface Classification {
  readonly index: number;
  /** Null where the model file has no names. */
  readonly name: string | null;
  /** By softmax over all classes. */
  readonly probability: number;
}

/** The `topK` classes with the largest logits, and their probabilities by softmax. @internal */
export function likeliest(logits: Float32Array, topK: number, names: readonly string[] | undefined): Classification[] {
  check(logits.every(Number.isFinite), 'INVALID_ARGUMENT', "classify: the network's outputs aren't finite numbers");
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return Array.from(powers, (power, index) => ({ index, name: names?.[index] ?? null, probability: power / sum }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, topK);
}
