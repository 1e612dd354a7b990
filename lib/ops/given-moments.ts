import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { type Affine, type NormOptions, normalize } from './batch-norm.js';
import { differentiable } from './differentiable.js';
import { scale } from './elementwise.js';
import type { Moments } from './moments.js';

/**
 * Mean squares over the samples and pixels of each split, [S·C], split-major.
 *
 * @param x [N, C, H, W]; moments that are known already are used
 * @internal
 */
export function meanSquares(x: Tensor, splits: number): Tensor {
  const known = x.moments?.splits === splits ? x.moments : null;
  return differentiable({
    name: 'meanSquares',
    inputs: { x },
    forward(inputs) {
      const { mean, var: variance } = known
        ? { mean: known.mean.handle.share(), var: known.variance.handle.share() }
        : native.moments({ ...inputs, splits });
      const square = native.binary({ a: mean, b: mean, kind: 'multiply' });
      const y = native.add({ a: square, b: variance });
      for (const used of [mean, variance, square]) used.dispose();
      return { y };
    },
    outputs: ['y'],
    save: (inputs) => inputs,
    backward({ saved, grads, orZeros }) {
      // The gradient of a variance around 0.
      const zeros = orZeros(null, grads.y);
      return { x: native.momentsBackward({ ...saved, splits, mean: zeros, dmean: zeros, dvar: grads.y }) };
    },
  }).y;
}

/**
 * Normalization by moments that are given for every split, and that gradients flow to:
 * (x - mean) / sqrt(variance + epsilon)·gamma + beta.
 *
 * @param x [N, C, H, W]
 * @param moments [S·C] each, split-major
 * @internal
 */
export function normalizeBy(
  x: Tensor,
  { mean, variance }: Moments,
  affine: Affine,
  { splits, epsilon, relu }: Required<NormOptions> & { splits: number },
): Tensor {
  // A Kalman normalization that believes its prior, whatever the guard sees beside an observation of ones.
  const filter = { splits, hasVirtual: false, sample: false, fixedGain: 0, epsilon, relu };
  return differentiable({
    name: 'normalizeBy',
    inputs: { x, ...affine, priorMean: mean, priorVar: variance },
    forward(inputs) {
      const { shape, format } = inputs.priorVar;
      const ones = native.full({ device: x.device.native, shape, dtype: 'float32', format, value: 1 });
      const observation = { observationMean: ones, observationVar: ones };
      const result = native.kalmanNorm({ ...inputs, ...observation, ...filter, guard: Number.MAX_VALUE });
      ones.dispose();
      return result;
    },
    outputs: ['y'],
    internal: ['priorMean', 'priorVar', 'observationMean', 'observationVar', 'posteriorMean', 'posteriorVar', 'ratio'],
    save: ({ x, gamma, beta }, results) => ({ x, gamma, beta, ...results }),
    absorbs: true,
    backward({ saved, grads, existing, virtualSamples }) {
      const { dx, dgamma, dbeta, dpriorMean, dpriorVar } = native.kalmanNormBackward({
        ...saved,
        dy: grads.y,
        ...filter,
        add: existing,
        virtualSamples,
      });
      return { x: dx, gamma: dgamma, beta: dbeta, priorMean: dpriorMean, priorVar: dpriorVar };
    },
  }).y;
}

/** So small that nothing is added to a variance. */
const NOTHING = 1e-30;

/**
 * factor·(gamma·x + beta) per channel, with ReLU where asked for, in one pass: a normalization by constants.
 *
 * @param x [N, C, H, W]
 * @internal
 */
export function scaleAndShift(
  x: Tensor,
  { gamma, beta: shift }: Affine,
  { factor = 1, relu = false }: { factor?: number; relu?: boolean },
): Tensor {
  const channels = x.shape[1] as number;
  const constants = { mean: x.device.zeros([channels]), variance: x.device.full([channels], factor ** -2) };
  const beta = shift && scale(shift, factor);
  const y = normalize(x, constants, { gamma, beta }, { epsilon: NOTHING, relu });
  for (const used of [constants.mean, constants.variance, beta]) used?.dispose();
  return y;
}
