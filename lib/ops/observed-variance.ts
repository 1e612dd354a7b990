import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

declare module '../addon/contract.js' {
  interface Operations {
    averageMoments(args: {
      mean: Handle;
      variance: Handle;
      center: Handle;
      averageVariance: Handle;
      updates: Handle;
      decay: number;
      warmUp: boolean;
    }): void;
    observedVarianceBackward(args: {
      w: Handle;
      slope: Handle;
      input: Handle;
      variance: Handle;
      average: Handle;
      dvariance: Handle;
    }): { dw: Handle; dinput: Handle };
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
 * @param input [in], variances of the convolution's input, of all groups
 * @internal
 */
export function observedVariance(variance: Tensor, filter: Tensor, input: Tensor, observed: ObservedSlope): Tensor {
  const [slope, average] = [observed.slope.handle, observed.variance.handle];
  return differentiable({
    name: 'observedVariance',
    inputs: { w: filter, input },
    forward: () => ({ variance: variance.handle.share() }),
    outputs: ['variance'],
    save: (inputs, results) => ({ ...inputs, ...results, slope, average }),
    backward({ saved, grads }) {
      const { dw, dinput } = native.observedVarianceBackward({ ...saved, dvariance: grads.variance });
      return { w: dw, input: dinput };
    },
  }).variance;
}
