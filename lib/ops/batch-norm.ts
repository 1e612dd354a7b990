import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';
import { type Moments, type RunningAverages, runningArguments, updateRunning } from './moments.js';

declare module '../addon/contract.js' {
  interface Operations {
    batchNorm(
      args: { x: Handle; splits: number; mean?: Maybe; variance?: Maybe; running?: Running | null } & Affine &
        Normalization,
    ): { y: Handle; mean: Handle; var: Handle };
    batchNormBackward(
      args: { x: Handle; dy: Handle; mean: Handle; variance: Handle; splits: number } & Affine &
        Normalization &
        Absorbing,
    ): NormGradients;
    /** By cuDNN, over the whole batch; throws `INVALID_ARGUMENT` on other devices than CUDA's. */
    dnnBatchNorm(args: { x: Handle; gamma: Handle; beta: Handle } & Normalization): {
      y: Handle;
      mean: Handle;
      rstd: Handle;
      var: Handle;
    };
    dnnBatchNormBackward(args: {
      x: Handle;
      dy: Handle;
      gamma: Handle;
      beta: Handle;
      mean: Handle;
      rstd: Handle;
      relu: boolean;
    }): { dx: Handle; dgamma: Handle; dbeta: Handle };
    normalize(args: { x: Handle; mean: Handle; variance: Handle } & Affine & Normalization): Handle;
    normalizeBackward(
      args: { x: Handle; dy: Handle; mean: Handle; variance: Handle } & Affine & Normalization,
    ): NormGradients;
  }
}

/** Scale and shift per channel; both null where a layer has none. */
export interface Affine {
  gamma: Tensor | null;
  beta: Tensor | null;
}

/** Options common to the normalizations. */
export interface NormOptions {
  /** Added to the variance; default 1e-5. */
  epsilon?: number;
  /** Apply ReLU in the same pass; default false. */
  relu?: boolean;
}

/** @internal */
export const normNames: OptionNames<NormOptions> = { epsilon: true, relu: true };

/** Whose kernels normalize: ours, or on CUDA devices those of cuDNN (for the whole batch only). */
export type BatchNormEngine = 'native' | 'cudnn';

const batchNormNames: OptionNames<NonNullable<Parameters<typeof batchNorm>[2]>> = {
  ...normNames,
  splits: true,
  engine: true,
  running: true,
};

/**
 * Batch normalization with the statistics of each split: (x - mean) / sqrt(variance + epsilon)·gamma + beta, with the
 * biased variance (Ioffe and Szegedy 2015).
 *
 * @param x [N, C, H, W] or [N, C]
 * @param options.engine default `native`; `cudnn` needs a CUDA device, one split, gamma and beta
 * @param options.running averages to move toward the statistics, in the same pass; default none: {@link updateRunning}
 * @returns the output, and the batch statistics, which carry no gradient
 */
export function batchNorm(
  x: Tensor,
  affine: Affine,
  options: NormOptions & { splits?: number; engine?: BatchNormEngine; running?: RunningAverages } = {},
): { output: Tensor; statistics: Moments } {
  checkTensors('batchNorm', { x });
  checkObjects('batchNorm', { affine });
  checkOptions('batchNorm', options, batchNormNames);
  const { splits = 1, epsilon = 1e-5, relu = false, engine = 'native', running } = options;
  const averages = running ? runningArguments('batchNorm', running) : null;
  if (engine === 'cudnn') {
    const result = dnnBatchNorm(x, affine, splits, epsilon, relu);
    if (running) updateRunning(running, result.statistics, { splits, ...running });
    return result;
  }
  const { gamma, beta } = affine;
  const known = x.moments?.splits === splits ? x.moments : null;
  const {
    y: output,
    mean,
    var: variance,
  } = differentiable({
    name: 'batchNorm',
    inputs: { x, gamma, beta },
    forward: (inputs) =>
      native.batchNorm({
        ...inputs,
        splits,
        epsilon,
        relu,
        mean: known?.mean.handle ?? null,
        variance: known?.variance.handle ?? null,
        running: averages,
      }),
    outputs: ['y'],
    save: (inputs, { mean, var: variance }) => ({ ...inputs, mean, variance }),
    absorbs: true,
    backward({ saved, grads, existing, virtualSamples }) {
      const { dx, dgamma, dbeta } = native.batchNormBackward({
        ...saved,
        dy: grads.y,
        splits,
        epsilon,
        relu,
        add: existing,
        virtualSamples,
      });
      return { x: dx, gamma: dgamma, beta: dbeta };
    },
  });
  return { output, statistics: { mean, variance } };
}

/** Batch normalization by cuDNN; for the whole batch, with scale and shift. */
function dnnBatchNorm(
  x: Tensor,
  { gamma, beta }: Affine,
  splits: number,
  epsilon: number,
  relu: boolean,
): { output: Tensor; statistics: Moments } {
  check(splits === 1, 'INVALID_ARGUMENT', `batchNorm: engine 'cudnn' knows no splits, got ${splits}`);
  check(gamma !== null && beta !== null, 'INVALID_ARGUMENT', "batchNorm: engine 'cudnn' needs gamma and beta");
  const {
    y: output,
    mean,
    var: variance,
  } = differentiable({
    name: 'dnnBatchNorm',
    inputs: { x, gamma, beta },
    forward: (inputs) => native.dnnBatchNorm({ ...inputs, epsilon, relu }),
    outputs: ['y'],
    internal: ['rstd'],
    save: (inputs, { mean, rstd }) => ({ ...inputs, mean, rstd }),
    backward({ saved, grads }) {
      const { dx, dgamma, dbeta } = native.dnnBatchNormBackward({ ...saved, dy: grads.y, relu });
      return { x: dx, gamma: dgamma, beta: dbeta };
    },
  });
  return { output, statistics: { mean, variance } };
}

/**
 * Normalization by given statistics, as in inference: (x - mean) / sqrt(variance + epsilon)·gamma + beta. No gradient
 * flows to the statistics.
 *
 * @param statistics [C] each
 */
export function normalize(x: Tensor, statistics: Moments, affine: Affine, options: NormOptions = {}): Tensor {
  checkTensors('normalize', { x });
  checkObjects('normalize', { statistics, affine });
  checkOptions('normalize', options, normNames);
  checkTensors('normalize', { mean: statistics.mean, variance: statistics.variance });
  const { epsilon = 1e-5, relu = false } = options;
  const { gamma, beta } = affine;
  const given = { mean: statistics.mean.handle, variance: statistics.variance.handle };
  return differentiable({
    name: 'normalize',
    inputs: { x, gamma, beta },
    forward: (inputs) => ({ y: native.normalize({ ...inputs, ...given, epsilon, relu }) }),
    outputs: ['y'],
    save: (inputs) => ({ ...inputs, ...given }),
    backward({ saved, grads }) {
      const { dx, dgamma, dbeta } = native.normalizeBackward({ ...saved, dy: grads.y, epsilon, relu });
      return { x: dx, gamma: dgamma, beta: dbeta };
    },
  }).y;
}
