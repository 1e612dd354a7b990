import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Tensor } from '../tensor.js';
import { sub } from './broadcast.js';
import { differentiable } from './differentiable.js';
import { scale } from './elementwise.js';
import { mean } from './reduce.js';

declare module '../addon/contract.js' {
  interface Operations {
    weightStandardize(args: { w: Handle; epsilon: number }): { y: Handle; mean: Handle; var: Handle };
    weightStandardizeBackward(args: { w: Handle; dy: Handle; mean: Handle; variance: Handle; epsilon: number }): Handle;
  }
}

/** sqrt(2 / (1 - 1/π)), the inverse of the deviation of ReLU(N(0, 1)): the gain of filters behind a ReLU. */
export const reluGain = Math.sqrt(2 / (1 - 1 / Math.PI));

/** Options of {@link weightStandardize}. */
export interface WeightStandardizeOptions {
  /** Added to the variance; default 1e-5. */
  epsilon?: number;
  /**
   * Norm of each output's weights: they have the variance gain² / I, where I = in·height·width (scaled weight
   * standardization, Brock et al. 2021, who take {@link reluGain} behind ReLU; with 1 the samples keep their variance). Default sqrt(I): variance 1, as in Qiao et al. 2019.
   */
  gain?: number;
}

const optionNames: OptionNames<WeightStandardizeOptions> = { epsilon: true, gain: true };

/**
 * Weight standardization (Qiao et al. 2019): for each output o of a filter, with mean μ and biased variance σ² over its I
 * weights, gain / sqrt(I)·(w - μ[o]) / sqrt(σ²[o] + epsilon). The gradient flows through μ and σ².
 *
 * @param weight filter [out, in, height, width]
 * @returns a filter of the same shape
 * @throws KalmanNormError `INVALID_ARGUMENT` for an epsilon or a gain that isn't a positive number
 */
export function weightStandardize(weight: Tensor, options: WeightStandardizeOptions = {}): Tensor {
  checkTensors('weightStandardize', { weight });
  checkOptions('weightStandardize', options, optionNames);
  const { epsilon = 1e-5, gain } = options;
  check(
    gain === undefined || (Number.isFinite(gain) && gain > 0),
    'INVALID_ARGUMENT',
    `weightStandardize: gain must be a positive number, got ${gain}`,
  );
  const { y } = differentiable({
    name: 'weightStandardize',
    inputs: { w: weight },
    forward: (inputs) => native.weightStandardize({ ...inputs, epsilon }),
    outputs: ['y'],
    internal: ['mean', 'var'],
    save: (inputs, { mean, var: variance }) => ({ ...inputs, mean, variance }),
    backward: ({ saved, grads }) => ({ w: native.weightStandardizeBackward({ ...saved, dy: grads.y, epsilon }) }),
  });
  if (gain === undefined) return y;
  const scaled = scale(y, gain / Math.sqrt(weight.size / (weight.shape[0] as number)));
  y.dispose();
  return scaled;
}

/**
 * Weight centralization (Yan et al. 2020): for each output of a filter its weights less their mean, so that a convolution of
 * inputs with one mean has the mean 0.
 *
 * @param weight filter [out, in, height, width]
 * @returns a filter of the same shape
 */
export function weightCenter(weight: Tensor): Tensor {
  checkTensors('weightCenter', { weight });
  check(
    weight.shape.length === 4,
    'SHAPE_MISMATCH',
    () => `weightCenter: weight must have shape [out, in, height, width], got [${weight.shape.join(', ')}]`,
  );
  using center = mean(weight, { axes: [1, 2, 3], keepDims: true });
  return sub(weight, center);
}
