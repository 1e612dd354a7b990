import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors, shown } from '../arguments.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

/** Adaptive filters that have seen the samples of a belief before, along a residual stream. */
export interface Upstream {
  /** State of the last of them ({@link filterRows}); it stays its layer's. */
  readonly filter: Tensor;
  /** How many filters in a row have corrected the belief. */
  readonly corrections: number;
}

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
    /** The filters whose innovations are still in these samples, as along a residual stream; default null. */
    readonly upstream: Upstream | null = null,
  ) {
    checkTensors('belief', { mean, variance });
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

/**
 * @param owner whom messages name
 * @param beliefs by the names of the arguments
 * @throws KalmanNormError `INVALID_ARGUMENT` for what isn't a belief
 * @internal
 */
export function checkBeliefs(owner: string, beliefs: Readonly<Record<string, unknown>>): void {
  for (const name in beliefs) {
    const value = beliefs[name];
    check(value instanceof Belief, 'INVALID_ARGUMENT', () => `${owner}: ${name} must be a Belief, got ${shown(value)}`);
  }
}

/** The sum of two beliefs, as of independent variables. An innovation that came with one of them is in the sum, too. */
export function addBeliefs(a: Belief, b: Belief): Belief {
  checkBeliefs('addBeliefs', { a, b });
  check(a.splits === b.splits, 'SHAPE_MISMATCH', `addBeliefs: expected ${a.splits} splits, got ${b.splits}`);
  check(
    a.channels === b.channels,
    'SHAPE_MISMATCH',
    () => `addBeliefs: expected ${a.channels} channels, got ${b.channels}`,
  );
  // Both sums are one launch.
  const sum = differentiable({
    name: 'addBeliefs',
    inputs: { mean: a.mean, variance: a.variance, otherMean: b.mean, otherVariance: b.variance },
    forward({ mean, variance, otherMean, otherVariance }) {
      const pairs = [
        { a: mean, b: otherMean },
        { a: variance, b: otherVariance },
      ];
      const [means, variances] = native.addEach({ pairs }) as [Handle, Handle];
      return { mean: means, variance: variances };
    },
    outputs: ['mean', 'variance'],
    backward: ({ grads: { mean, variance } }) => ({ mean, variance, otherMean: mean, otherVariance: variance }),
  });
  return new Belief(sum.mean, sum.variance, a.splits, false, a.upstream ?? b.upstream);
}
