import { native } from '../addon/load.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { differentiable, unary } from './differentiable.js';
import { add } from './elementwise.js';

/**
 * What is believed of the distribution of a layer's input: a mean and a variance per (split, channel), as vectors of
 * S·C values, split-major.
 */
export class Belief {
  /**
   * @throws KalmanNormError `SHAPE_MISMATCH` where mean and variance aren't vectors of one length, divisible by splits
   */
  constructor(
    readonly mean: Tensor,
    readonly variance: Tensor,
    readonly splits: number,
    /** Whether the variable is max(x, 0) of the Gaussian x that mean and variance describe; default false. */
    readonly rectified = false,
  ) {
    const [length] = mean.shape;
    check(
      mean.shape.length === 1 && variance.shape.length === 1 && variance.shape[0] === length,
      'SHAPE_MISMATCH',
      () => `belief: mean and variance must be vectors of one length, got [${mean.shape}] and [${variance.shape}]`,
    );
    check(
      Number.isInteger(splits) && splits >= 1 && (length as number) % splits === 0,
      'SHAPE_MISMATCH',
      () => `belief: a length of splits·channels is expected, got ${length} values for ${splits} splits`,
    );
  }

  /** C. */
  get channels(): number {
    return (this.mean.shape[0] as number) / this.splits;
  }

  /** Frees mean and variance, unless they are a module's parameters. */
  dispose(): void {
    for (const tensor of [this.mean, this.variance]) if (tensor.role === 'value') tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The mean and variance of a rectified belief's variable itself; another belief is returned as it is. */
export function rectifyBelief(belief: Belief): Belief {
  if (!belief.rectified) return belief;
  const { mean, variance, splits } = belief;
  const result = differentiable({
    name: 'rectifyBelief',
    inputs: { mean, variance },
    forward: (inputs) => native.rectifyBelief(inputs),
    outputs: ['mean', 'var'],
    save: (inputs) => inputs,
    backward({ saved, grads, orZeros }) {
      const [dmean, dvariance] = [orZeros(grads.mean, saved.mean), orZeros(grads.var, saved.mean)];
      const given = native.rectifyBeliefBackward({ ...saved, dmean, dvariance });
      return { mean: given.mean, variance: given.var };
    },
  });
  return new Belief(result.mean, result.var, splits);
}

/** The sum of two beliefs, as of independent variables. */
export function addBeliefs(a: Belief, b: Belief): Belief {
  check(a.splits === b.splits, 'SHAPE_MISMATCH', `addBeliefs: expected ${a.splits} splits, got ${b.splits}`);
  return new Belief(add(a.mean, b.mean), add(a.variance, b.variance), a.splits);
}

/**
 * Where a widening shortcut puts a belief: `aligned` moves (split s, channel c) to (s, before + c), as the samples move;
 * `reference` shifts the flat vector by S·before, as the authors' code does, which mixes up splits and channels for S > 1.
 */
export type BeliefPadding = 'aligned' | 'reference';

/** A belief of `before` + C + `after` channels, with zeros for the new ones. */
export function padBelief(belief: Belief, before: number, after: number, padding: BeliefPadding = 'aligned'): Belief {
  const { splits } = belief;
  const aligned = padding === 'aligned';
  const pad = (x: Tensor) =>
    unary('padBelief', x, {
      forward: (x) => native.padBelief({ x, splits, before, after, aligned }),
      save: (x) => ({ x }),
      backward: ({ saved, dy }) => native.padBeliefBackward({ ...saved, dy, splits, before, after, aligned }),
    });
  return new Belief(pad(belief.mean), pad(belief.variance), splits);
}
