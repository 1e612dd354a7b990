import type { Running } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  /** {@link RunningAverages} */
  interface Running {
    mean: Handle;
    variance: Handle;
    momentum: number;
    correction: number;
    allSplits: boolean;
  }

  interface Operations {
    moments(args: { x: Handle; splits: number }): { mean: Handle; var: Handle };
    /** Writes into `dx` where it is given. */
    momentsBackward(args: { x: Handle; splits: number; mean: Handle; dmean: Handle; dvar: Handle; dx?: Maybe }): Handle;
    addMoments(args: { a: Handle; b: Handle; splits: number; inPlace: boolean }): {
      out: Handle;
      mean: Maybe;
      var: Maybe;
    };
    updateRunning(args: { mean: Handle; variance: Handle; running: Running; splits: number }): void;
  }
}

/** Mean and biased variance of every (split, channel), as vectors of S·C values, split-major. */
export interface Moments {
  mean: Tensor;
  variance: Tensor;
}

/** Averages [C] that a layer keeps, and how a step moves them to its statistics s: running += momentum·(s - running). */
export interface RunningAverages extends Moments {
  /** Weight of the new value. */
  momentum: number;
  /** Factor on the variance, n / (n - 1) to make a biased one unbiased. */
  correction: number;
  /** The mean over the splits, else split 0 alone (as the reference code does). */
  allSplits: boolean;
}

/**
 * Moments over the samples and pixels of each split of x.
 *
 * @param x [N, C, H, W] or [N, C]
 * @param splits S, a divisor of N
 */
export function moments(x: Tensor, splits = 1): Moments {
  const { mean, var: variance } = differentiable({
    name: 'moments',
    inputs: { x },
    forward: (inputs) => native.moments({ ...inputs, splits }),
    outputs: ['mean', 'var'],
    save: ({ x }, { mean }) => ({ x, mean }),
    backward({ saved, grads, orZeros }) {
      const [dmean, dvar] = [orZeros(grads.mean, saved.mean), orZeros(grads.var, saved.mean)];
      return { x: native.momentsBackward({ ...saved, splits, dmean, dvar }) };
    },
  });
  return { mean, variance };
}

/**
 * a + b, with the moments of the sum computed in the same pass, for a normalization that follows.
 *
 * @param splits of the moments
 * @param options.inPlace overwrite b, which must not be used any more
 */
export function addWithMoments(a: Tensor, b: Tensor, splits: number, options: { inPlace?: boolean } = {}): Tensor {
  checkTensors('addWithMoments', { a, b });
  checkOptions('addWithMoments', options, { inPlace: true });
  const { inPlace = false } = options;
  const {
    out,
    mean,
    var: variance,
  } = differentiable({
    name: 'addWithMoments',
    inputs: { a, b },
    forward: (inputs) => native.addMoments({ ...inputs, splits, inPlace }),
    outputs: ['out'],
    backward: ({ grads }) => ({ a: grads.out, b: grads.out }),
  });
  attachMoments(out, splits, mean, variance);
  return out;
}

/** Leaves moments with the tensor that they belong to, where they were computed. @internal */
export function attachMoments(tensor: Tensor, splits: number, mean: Tensor | null, variance: Tensor | null): void {
  if (mean && variance) tensor.moments = { splits, mean, variance };
}

/** Of {@link updateRunning}: whoever has {@link RunningAverages} may hand on all of them. */
const updateNames: OptionNames<{ splits: number } & RunningAverages> = {
  splits: true,
  mean: true,
  variance: true,
  momentum: true,
  correction: true,
  allSplits: true,
};

/**
 * Moves running averages toward the statistics of a batch: running += momentum·(s - running). A channel whose statistics
 * aren't finite keeps its averages.
 *
 * @param running the averages, which are overwritten
 * @param statistics mean and variance of every (split, channel)
 * @param options.splits S; the rest as in {@link RunningAverages}
 */
export function updateRunning(
  running: Moments,
  statistics: Moments,
  options: { splits: number } & Omit<RunningAverages, keyof Moments>,
): void {
  checkObjects('updateRunning', { running, statistics });
  checkOptions<typeof options & Partial<Moments>>('updateRunning', options, updateNames);
  for (const { mean, variance } of [running, statistics]) checkTensors('updateRunning', { mean, variance });
  const { splits, ...how } = options;
  const { mean, variance } = statistics;
  native.updateRunning({
    mean: mean.handle,
    variance: variance.handle,
    running: runningArguments('updateRunning', { ...running, ...how }),
    splits,
  });
}

/** As the addon takes them. @internal */
export function runningArguments(name: string, running: RunningAverages): Running {
  checkObjects(name, { running });
  const { mean, variance, momentum, correction, allSplits } = running;
  checkTensors(name, { 'running.mean': mean, 'running.variance': variance });
  return { mean: mean.handle, variance: variance.handle, momentum, correction, allSplits };
}
