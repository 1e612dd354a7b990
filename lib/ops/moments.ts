import { record } from '../autograd.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';

/** Mean and biased variance of every (split, channel), as vectors of S·C values, split-major. */
export interface Moments {
  mean: Tensor;
  variance: Tensor;
}

/**
 * Moments over the samples and pixels of each split of x.
 *
 * @param x [N, C, H, W] or [N, C]
 * @param splits S, a divisor of N
 */
export function moments(x: Tensor, splits = 1): Moments {
  const result = native.moments(x.handle, splits);
  const mean = new Tensor(x.device, result.mean);
  const variance = new Tensor(x.device, result.var);
  record([x], () => {
    const input = x.handle.share();
    const center = result.mean.share();
    return {
      name: 'moments',
      inputs: [x],
      outputs: [mean, variance],
      saved: [input, center],
      backward({ grads: [dmean, dvar] }) {
        if (!dmean && !dvar) return [null];
        const zeros = dmean && dvar ? null : native.full(x.device.native, center.shape, 'float32', 'plain', 0);
        const dx = native.momentsBackward(input, splits, center, dmean ?? zeros!, dvar ?? zeros!, null);
        zeros?.dispose();
        return [dx];
      },
    };
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
  const result = native.addMoments(a.handle, b.handle, splits, options.inPlace ?? false);
  const out = new Tensor(a.device, result.out);
  attachMoments(out, splits, result);
  record([a, b], () => ({
    name: 'addWithMoments',
    inputs: [a, b],
    outputs: [out],
    saved: [],
    backward: ({ grads: [dy] }) => [dy?.share() ?? null, dy?.share() ?? null],
  }));
  return out;
}

/** Leaves moments with the tensor that they belong to. @internal */
export function attachMoments(tensor: Tensor, splits: number, result: ReturnType<typeof native.addMoments>): void {
  if (!result.mean || !result.var) return;
  tensor.moments = {
    splits,
    mean: new Tensor(tensor.device, result.mean),
    variance: new Tensor(tensor.device, result.var),
  };
}
