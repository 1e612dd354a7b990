import { native } from '../addon/load.js';
import { noGrad } from '../autograd.js';
import { add, div, mul, sub } from '../ops/broadcast.js';
import { type Conv2dOptions, convShape } from '../ops/conv2d.js';
import { advance } from '../ops/counter.js';
import { scale, sqrt, square } from '../ops/elementwise.js';
import { broadcastTo } from '../ops/layout.js';
import { reshape, samples } from '../ops/memory.js';
import { moments } from '../ops/moments.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../scope.js';
import { type Device, Tensor } from '../tensor.js';
import { Module } from './module.js';

/** Share of a batch's samples that are looked at, and what a step leaves of the averages: of some 1,600 samples at 128. */
const SHARE = 1 / 8;
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
export class VarianceSlope extends Module {
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

  /**
   * A variance with the averages' gradient, relative to it: d log variance / d filter = slope / average.
   *
   * @param variance [out]; of its own gradient nothing is left
   * @param input [in], variances of the convolution's input
   */
  attach(variance: Tensor, filter: Tensor, input: Tensor): Tensor {
    const [out = 1, inGroup = 1] = filter.shape;
    const groups = input.size / inGroup;
    using inputNow = input.detach();
    using ratios = div(input, inputNow);
    using roots = sqrt(ratios);
    using rows = reshape(roots, [groups, 1, inGroup]);
    using columns = broadcastTo(rows, [groups, out / groups, inGroup]);
    using deviations = reshape(columns, [out, inGroup, 1, 1]); // each 1, but for its gradient
    using products = mul(filter, this.slope);
    using stretched = mul(products, deviations);
    using along = sum(stretched, { axes: [1, 2, 3] });
    using alongNow = along.detach();
    using moved = sub(along, alongNow); // 0, but for its gradient
    using known = variance.detach();
    using relative = div(known, this.variance);
    using step = mul(relative, moved);
    return add(known, step);
  }

  /** Takes a step's samples, some of them, into the averages: `y` is the convolution of `x`, with its bias. */
  observe(x: Tensor, y: Tensor, filter: Tensor, options: Conv2dOptions): void {
    noGrad(() =>
      scope(() => {
        const count = Math.ceil((x.shape[0] as number) * SHARE);
        const [input, output] = [samples(x, 0, count), samples(y, 0, count)];
        const { mean, variance } = moments(output);
        this.average(this.center, mean);
        const centered = sub(output, reshape(this.center, [mean.size, 1, 1]));
        const handle = native.conv2dBackwardWeights({
          x: input.handle,
          dy: centered.handle,
          w: filter.handle,
          shape: convShape(input.shape, filter.shape, options),
        });
        const products = new Tensor(x.device, handle);
        this.average(this.slope, scale(products, (2 * mean.size) / output.size));
        this.average(this.variance, add(variance, square(sub(mean, this.center))));
        advance(this.updates);
      }),
    );
  }

  /** The first steps count more. */
  private average(average: Tensor, value: Tensor): void {
    native.average({
      tensors: [{ average: average.handle, value: value.handle }],
      updates: this.updates.handle,
      decay: DECAY,
      warmUp: true,
    });
  }
}
