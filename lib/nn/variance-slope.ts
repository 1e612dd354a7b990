import { native } from '../addon/load.js';
import { noGrad } from '../autograd.js';
import { type Conv2dOptions, convShape } from '../ops/conv2d.js';
import { samples } from '../ops/memory.js';
import type { ObservedSlope } from '../ops/observed-variance.js';
import { scope } from '../scope.js';
import { type Device, Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Share of a batch's samples that are looked at, and what a step leaves of the averages: of some 800 samples at 128. */
const SHARE = 1 / 16;
const DECAY = 0.99;

/**
 * How the variance of a convolution's output changes with its filter: by twice the covariance of output and input, tap by
 * tap; and with the deviation of an input channel: as it does with the filter's taps on that channel, all together. The
 * closed form of a belief takes inputs as independent, which gives the right variance up to a factor that a filter over
 * time corrects, but a gradient in another direction. This one is what samples show, averaged over time.
 *
 * `slope`: as the filter, d variance / d filter; `center`, `variance`: [out], moments of the output; `updates`: [1].
 *
 * @internal
 */
export class VarianceSlope extends Module implements ObservedSlope {
  readonly slope: Tensor;
  readonly center: Tensor;
  readonly variance: Tensor;
  readonly updates: Tensor;

  /** @param shape of the filter */
  constructor(device: Device, shape: readonly number[]) {
    super();
    const out = shape[0] as number;
    this.slope = this.buffer(() => device.zeros(shape, { format: 'filter' }));
    this.center = this.buffer(() => device.zeros([out]));
    this.variance = this.buffer(() => device.ones([out]));
    this.updates = this.buffer(() => device.zeros([1], { dtype: 'int32' }));
  }

  /** Takes a step's samples, some of them, into the averages: `y` is the convolution of `x`, with its bias. */
  observe(x: Tensor, y: Tensor, filter: Tensor, options: Conv2dOptions): void {
    noGrad(() =>
      scope(() => {
        const count = Math.ceil((x.shape[0] as number) * SHARE);
        const [input, output] = [samples(x, 0, count), samples(y, 0, count)];
        const [center, averageVariance, updates] = [this.center.handle, this.variance.handle, this.updates.handle];
        const averages = { center, averageVariance, updates };
        const shown = native.centerObserved({ y: output.handle, ...averages, decay: DECAY, warmUp: true });
        const [centered, next] = [new Tensor(x.device, shown.centered), new Tensor(x.device, shown.next)];
        const shape = convShape(input.shape, filter.shape, options);
        const operands = { x: input.handle, dy: centered.handle, w: filter.handle, shape, rounded: true };
        const products = new Tensor(x.device, native.conv2dBackwardWeights(operands));
        const scale = (2 * this.center.size) / output.size;
        const slope = this.slope.handle;
        native.averageObserved({ products: products.handle, scale, next: next.handle, slope, ...averages });
      }),
    );
  }
}
