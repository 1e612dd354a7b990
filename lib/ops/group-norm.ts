import { native } from '../addon/load.js';
import { checkObjects, checkTensors } from '../arguments.js';
import { checkOptions } from '../options.js';
import type { Tensor } from '../tensor.js';
import { type Affine, type NormOptions, normNames } from './batch-norm.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    groupNorm(args: { x: Handle; groups: number } & Affine & Normalization): { y: Handle; mean: Handle; var: Handle };
    groupNormBackward(
      args: { x: Handle; dy: Handle; mean: Handle; variance: Handle; groups: number } & Affine &
        Normalization &
        Absorbing,
    ): NormGradients;
  }
}

/**
 * Group normalization (Wu and He 2018): mean and biased variance over the pixels and the C/G channels of each group of
 * each sample.
 *
 * @param x [N, C, H, W] or [N, C]
 * @param groups G, a divisor of C; group g has the channels from g·C/G
 */
export function groupNorm(x: Tensor, groups: number, affine: Affine, options: NormOptions = {}): Tensor {
  checkTensors('groupNorm', { x });
  checkObjects('groupNorm', { affine });
  checkOptions('groupNorm', options, normNames);
  const { epsilon = 1e-5, relu = false } = options;
  const { gamma, beta } = affine;
  return differentiable({
    name: 'groupNorm',
    inputs: { x, gamma, beta },
    forward: (inputs) => native.groupNorm({ ...inputs, groups, epsilon, relu }),
    outputs: ['y'],
    internal: ['mean', 'var'],
    save: (inputs, { mean, var: variance }) => ({ ...inputs, mean, variance }),
    absorbs: true,
    backward({ saved, grads, existing, virtualSamples }) {
      const { dx, dgamma, dbeta } = native.groupNormBackward({
        ...saved,
        dy: grads.y,
        groups,
        epsilon,
        relu,
        add: existing,
        virtualSamples,
      });
      return { x: dx, gamma: dgamma, beta: dbeta };
    },
  }).y;
}
