import { check } from '../errors.js';
import { type Conv2dOptions, conv2d } from '../ops/conv2d.js';
import { propagate } from '../ops/predict.js';
import { HostRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import type { Filtered } from './filtered.js';
import { type VarianceScaling, varianceScaling } from './init.js';
import { Layer } from './module.js';

/** Options of {@link Conv2d}. */
export interface Conv2dLayerOptions extends Conv2dOptions {
  /** Where initial values come from; default seed 0. */
  random?: HostRandom;
  /** Default: variance 2 / fan out, as in the reference code. */
  init?: VarianceScaling;
}

/**
 * Convolution without bias, as networks with normalization use it.
 *
 * `weight`: [out, in, kernel, kernel]
 *
 * @example
 * const conv = new Conv2d(device, 16, 32, 3, { stride: 2, padding: 'same' });
 * const y = conv.forward(x); // [N, 16, 32, 32] to [N, 32, 16, 16]
 */
export class Conv2d extends Layer {
  readonly weight: Tensor;
  /** Stride and padding. */
  readonly options: Conv2dOptions;

  constructor(
    device: Device,
    inChannels: number,
    outChannels: number,
    kernel: number,
    options: Conv2dLayerOptions = {},
  ) {
    super();
    for (const [name, value] of Object.entries({ inChannels, outChannels, kernel })) {
      check(
        Number.isInteger(value) && value >= 1,
        'INVALID_ARGUMENT',
        `Conv2d: ${name} must be a whole number of at least 1, got ${value}`,
      );
    }
    const { random = new HostRandom(0), init = {}, ...rest } = options;
    const shape = [outChannels, inChannels, kernel, kernel];
    this.options = rest;
    this.weight = this.parameter(() =>
      device.tensor(varianceScaling(random, shape, init), shape, { format: 'filter' }),
    );
  }

  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.options);
  }

  /** Pushes samples and belief through the convolution. */
  filter({ x, belief }: Filtered): Filtered {
    const [, , height = 1, width = 1] = x.shape;
    return {
      x: this.forward(x),
      belief: belief && propagate(belief, this.weight, { ...this.options, height, width }),
    };
  }
}
