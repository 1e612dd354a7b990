import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import type { Belief } from './belief.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** `next`: [2·C + 1], for `averageObserved`. */
    centerObserved(args: {
      y: Handle;
      center: Handle;
      averageVariance: Handle;
      updates: Handle;
      decay: number;
      warmUp: boolean;
    }): { centered: Handle; next: Handle };
    /** `products`: a gradient of the filter, rounded or not. */
    averageObserved(args: {
      products: Handle;
      scale: number;
      next: Handle;
      slope: Handle;
      center: Handle;
      averageVariance: Handle;
      updates: Handle;
    }): void;
    observedVarianceBackward(args: {
      w: Handle;
      mean: Handle;
      inputVariance: Handle;
      rectified: boolean;
      slope: Handle;
      believed: Handle;
      average: Handle;
      dvariance: Handle;
    }): { dw: Handle; dmean: Handle; dvar: Handle };
  }
}

/** What samples have shown of the variance of a convolution's output. @internal */
export interface ObservedSlope {
  /** d variance / d filter, as the filter. */
  slope: Tensor;
  /** The variance that `slope` belongs to, [out]. */
  variance: Tensor;
}

/**
 * A believed variance with the gradient that samples have shown, relative to it: d log variance / d filter =
 * slope / observed variance; and to the deviation of an input channel as to the filter's taps on that channel, all
 * together. Where nothing has varied the gradient is zero. Gradients take the averages as they are in the backward.
 *
 * @param variance [out]; of its own gradient nothing is left
 * @param input of the convolution, of one split: [in], of all groups
 * @internal
 */
export function observedVariance(variance: Tensor, filter: Tensor, input: Belief, observed: ObservedSlope): Tensor {
  const [slope, average] = [observed.slope.handle, observed.variance.handle];
  const { mean, rectified } = input;
  return differentiable({
    name: 'observedVariance',
    inputs: { w: filter, mean, inputVariance: input.variance },
    forward: () => ({ variance: variance.handle.share() }),
    outputs: ['variance'],
    save: (inputs, { variance }) => ({ ...inputs, believed: variance, slope, average }),
    backward({ saved, grads }) {
      const given = native.observedVarianceBackward({ ...saved, rectified, dvariance: grads.variance });
      return { w: given.dw, mean: given.dmean, inputVariance: given.dvar };
    },
  }).variance;
}
