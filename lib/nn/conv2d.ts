import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { type Conv2dOptions, conv2d, type Padding } from '../ops/conv2d.js';
import { propagate } from '../ops/predict.js';
import { type HostRandom, initialRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import { type VarianceScaling, varianceScaling } from './init.js';
import { Layer } from './module.js';
import { isSize, type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';

/** Options of {@link Conv2d}. */
export interface Conv2dLayerOptions extends Conv2dOptions {
  /** Where initial values come from; default: the thread's stream, see {@link manualSeed}. */
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
  static readonly type = 'Conv2d';
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
    const { random = initialRandom(), init = {}, ...rest } = options;
    const shape = [outChannels, inChannels, kernel, kernel];
    this.options = rest;
    this.weight = this.parameter(() =>
      device.tensor(varianceScaling(random, shape, init), shape, { format: 'filter' }),
    );
  }

  static plan(spec: SpecReader): ModulePlan {
    const [inChannels, outChannels, kernel] = [spec.size('inChannels'), spec.size('outChannels'), spec.size('kernel')];
    const isList = (value: unknown, ...lengths: number[]): value is unknown[] =>
      Array.isArray(value) && lengths.includes(value.length);
    const isPad = (value: unknown) => value === 0 || isSize(value);
    const stride = spec.value<number | [number, number]>(
      'stride',
      (value) => isSize(value) || (isList(value, 2) && value.every(isSize)),
      'a whole number of at least 1, or two',
      1,
    );
    const padding = spec.value<Padding>(
      'padding',
      (value) => value === 'same' || isPad(value) || (isList(value, 2, 4) && value.every(isPad)),
      '"same", a whole number, or two or four of them',
      0,
    );
    return {
      values: inChannels * outChannels * kernel ** 2,
      build: (device) => new Conv2d(device, inChannels, outChannels, kernel, { stride, padding }),
    };
  }

  override spec(): ModuleSpec {
    const [outChannels = 1, inChannels = 1, kernel = 1] = this.weight.shape;
    const { stride = 1, padding = 0 } = this.options;
    return { type: Conv2d.type, inChannels, outChannels, kernel, stride, padding };
  }

  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.options);
  }

  protected override transition(belief: Belief, shape: readonly number[]): Belief {
    const [, , height = 1, width = 1] = shape;
    return propagate(belief, this.weight, { ...this.options, height, width });
  }
}

registerModule(Conv2d);
