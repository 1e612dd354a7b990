import { record } from '../autograd.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';
import type { Affine, NormOptions } from './batch-norm.js';

/**
 * Group normalization (Wu and He 2018): mean and biased variance over the pixels and the C/G channels of each group of
 * each sample.
 *
 * @param x [N, C, H, W] or [N, C]
 * @param groups G, a divisor of C; group g has the channels from g·C/G
 */
export function groupNorm(x: Tensor, groups: number, affine: Affine, options: NormOptions = {}): Tensor {
  const { epsilon = 1e-5, relu = false } = options;
  const { gamma, beta } = affine;
  const result = native.groupNorm(x.handle, gamma?.handle ?? null, beta?.handle ?? null, groups, epsilon, relu);
  const y = new Tensor(x.device, result.y);
  record([x, gamma, beta], () => {
    const saved = [x, gamma, beta].map((t) => t?.handle.share() ?? null);
    const [input, scale, shift] = saved;
    const mean = result.mean.share();
    const variance = result.var.share();
    return {
      name: 'groupNorm',
      inputs: [x, gamma, beta],
      outputs: [y],
      saved: [...saved, mean, variance],
      absorbs: [0],
      backward({ grads: [dy], existing: [elsewhere], room }) {
        if (!dy) return [elsewhere?.share() ?? null, null, null];
        const { dx, dgamma, dbeta } = native.groupNormBackward(
          input!,
          dy,
          scale!,
          shift!,
          mean,
          variance,
          groups,
          epsilon,
          relu,
          elsewhere ?? null,
          room[0] ?? 0,
        );
        return [dx, dgamma, dbeta];
      },
    };
  });
  result.mean.dispose();
  result.var.dispose();
  return y;
}
