import { record } from '../autograd.js';
import { check } from '../errors.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';
import type { Moments } from './moments.js';

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

/** Whose kernels normalize: ours, or on CUDA devices those of cuDNN (for the whole batch only). */
export type BatchNormEngine = 'native' | 'cudnn';

/**
 * Batch normalization with the statistics of each split: (x - mean) / sqrt(variance + epsilon)·gamma + beta, with the
 * biased variance (Ioffe and Szegedy 2015).
 *
 * @param x [N, C, H, W] or [N, C]
 * @param options.engine default `native`; `cudnn` needs a CUDA device, one split, gamma and beta
 * @returns the output, and the batch statistics, which carry no gradient
 */
export function batchNorm(
  x: Tensor,
  affine: Affine,
  options: NormOptions & { splits?: number; engine?: BatchNormEngine } = {},
): { output: Tensor; statistics: Moments } {
  const { splits = 1, epsilon = 1e-5, relu = false, engine = 'native' } = options;
  if (engine === 'cudnn') return dnnBatchNorm(x, affine, splits, epsilon, relu);
  const { gamma, beta } = affine;
  const known = x.moments?.splits === splits ? x.moments : null;
  const result = native.batchNorm(
    x.handle,
    gamma?.handle ?? null,
    beta?.handle ?? null,
    splits,
    epsilon,
    relu,
    known?.mean.handle ?? null,
    known?.variance.handle ?? null,
  );
  const output = new Tensor(x.device, result.y);
  const statistics = { mean: new Tensor(x.device, result.mean), variance: new Tensor(x.device, result.var) };
  record([x, gamma, beta], () => {
    const saved = [x, gamma, beta, statistics.mean, statistics.variance].map((t) => t?.handle.share() ?? null);
    const [input, scale, shift, mean, variance] = saved;
    return {
      name: 'batchNorm',
      inputs: [x, gamma, beta],
      outputs: [output],
      saved,
      absorbs: [0],
      backward({ grads: [dy], existing: [elsewhere], room }) {
        if (!dy) return [elsewhere?.share() ?? null, null, null];
        const { dx, dgamma, dbeta } = native.batchNormBackward(
          input!,
          dy,
          scale!,
          shift!,
          mean!,
          variance!,
          splits,
          epsilon,
          relu,
          elsewhere ?? null,
          room[0] ?? 0,
        );
        return [dx, dgamma, dbeta];
      },
    };
  });
  return { output, statistics };
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
  const result = native.dnnBatchNorm(x.handle, gamma.handle, beta.handle, epsilon, relu);
  const output = new Tensor(x.device, result.y);
  const statistics = { mean: new Tensor(x.device, result.mean), variance: new Tensor(x.device, result.var) };
  record([x, gamma, beta], () => {
    const saved = [x, gamma, beta, statistics.mean].map((tensor) => tensor.handle.share());
    const [input, scale, shift, mean] = saved;
    const rstd = result.rstd.share();
    return {
      name: 'dnnBatchNorm',
      inputs: [x, gamma, beta],
      outputs: [output],
      saved: [...saved, rstd],
      backward({ grads: [dy] }) {
        if (!dy) return [null, null, null];
        const { dx, dgamma, dbeta } = native.dnnBatchNormBackward(input!, dy, scale!, shift!, mean!, rstd, relu);
        return [dx, dgamma, dbeta];
      },
    };
  });
  result.rstd.dispose();
  return { output, statistics };
}

/**
 * Normalization by given statistics, as in inference: (x - mean) / sqrt(variance + epsilon)·gamma + beta. No gradient
 * flows to the statistics.
 *
 * @param statistics [C] each
 */
export function normalize(x: Tensor, statistics: Moments, affine: Affine, options: NormOptions = {}): Tensor {
  const { epsilon = 1e-5, relu = false } = options;
  const { gamma, beta } = affine;
  const y = new Tensor(
    x.device,
    native.normalize(
      x.handle,
      gamma?.handle ?? null,
      beta?.handle ?? null,
      statistics.mean.handle,
      statistics.variance.handle,
      epsilon,
      relu,
    ),
  );
  record([x, gamma, beta], () => {
    const saved = [x, gamma, beta, statistics.mean, statistics.variance].map((t) => t?.handle.share() ?? null);
    const [input, scale, shift, mean, variance] = saved;
    return {
      name: 'normalize',
      inputs: [x, gamma, beta],
      outputs: [y],
      saved,
      backward({ grads: [dy] }) {
        if (!dy) return [null, null, null];
        const { dx, dgamma, dbeta } = native.normalizeBackward(
          input!,
          dy,
          scale!,
          shift!,
          mean!,
          variance!,
          epsilon,
          relu,
        );
        return [dx, dgamma, dbeta];
      },
    };
  });
  return y;
}

/**
 * Moves running averages toward the statistics of a batch: running += momentum·(s - running).
 *
 * @param options.momentum weight of the new value
 * @param options.correction factor on the variance, n / (n - 1) to make a biased one unbiased
 * @param options.allSplits the mean over the splits, else split 0 alone (as the reference code does)
 */
export function updateRunning(
  running: Moments,
  statistics: Moments,
  options: { splits: number; momentum: number; correction: number; allSplits: boolean },
): void {
  native.runningUpdate(
    statistics.mean.handle,
    statistics.variance.handle,
    running.mean.handle,
    running.variance.handle,
    options.splits,
    options.momentum,
    options.correction,
    options.allSplits,
  );
}
