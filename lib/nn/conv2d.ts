import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import type { Belief } from '../ops/belief.js';
import { type Conv2dOptions, conv2d, conv2dNames, type Padding } from '../ops/conv2d.js';
import { checkTransitionGradient, type TransitionGradient, transitionGradients } from '../ops/transition-gradient.js';
import { weightCenter, weightStandardize } from '../ops/weight-standardize.js';
import { checkOptions, type OptionNames } from '../options.js';
import { type HostRandom, initialRandom } from '../random.js';
import type { Device, Tensor } from '../tensor.js';
import type { Filtered } from './filtered.js';
import { type VarianceScaling, varianceScaling } from './init.js';
import { Layer } from './module.js';
import { isSize, type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';
import { throughConv2d } from './transition.js';
import { VarianceSlope } from './variance-slope.js';

/** Options of {@link Conv2d}. */
export interface Conv2dLayerOptions extends Conv2dOptions {
  /** A shift per output, from 0; default false, as networks with normalization use it. */
  bias?: boolean;
  /** Where initial values come from; default: the thread's stream, see {@link manualSeed}. */
  random?: HostRandom;
  /** Default: variance 2 / fan out, as in the reference code. */
  init?: VarianceScaling;
  /**
   * Standardize each output's weights on their way to the samples: `true`, to variance 1 (Qiao et al. 2019), or a number,
   * the norm they get (scaled, Brock et al. 2021); see {@link weightStandardize}. `centered`: only take off their mean
   * (Yan et al. 2020); see {@link weightCenter}. Default false.
   */
  weightStandardization?: WeightStandardization;
  /**
   * How the variance that is believed of the output depends on the filter, for gradients: `closed-form`, as that of inputs
   * which are independent, or `observed`, as samples of the steps before show, which costs a convolution of a
   * sixteenth of the samples a step. See docs/filter.md. Default `closed-form`.
   */
  transitionGradient?: TransitionGradient;
}

const optionNames: OptionNames<Conv2dLayerOptions> = {
  ...conv2dNames,
  bias: true,
  random: true,
  init: true,
  weightStandardization: true,
  transitionGradient: true,
};

/** Whether weights are standardized: to variance 1, to the norm that a number gives, or in their mean alone. */
export type WeightStandardization = boolean | number | 'centered';

/**
 * Convolution, with stride, padding, dilation and groups.
 *
 * `weight`: [out, in / groups, kernel, kernel], `bias`: [out], or null
 *
 * @example
 * const conv = new Conv2d(device, 16, 32, 3, { stride: 2, padding: 'same' });
 * const y = conv.forward(x); // [N, 16, 32, 32] to [N, 32, 16, 16]
 * const depthwise = new Conv2d(device, 32, 32, 3, { padding: 'same', groups: 32, bias: true });
 */
export class Conv2d extends Layer {
  static readonly type = 'Conv2d';
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  /** Stride, padding, dilation and groups. */
  readonly options: Conv2dOptions;
  readonly weightStandardization: WeightStandardization;
  /** What samples have shown; null where the gradient is the closed form's. @internal */
  readonly observed: VarianceSlope | null;

  constructor(
    device: Device,
    inChannels: number,
    outChannels: number,
    kernel: number,
    options: Conv2dLayerOptions = {},
  ) {
    super();
    checkDevice('Conv2d', device);
    checkOptions('Conv2d', options, optionNames);
    for (const [name, value] of Object.entries({ inChannels, outChannels, kernel })) {
      check(
        Number.isInteger(value) && value >= 1,
        'INVALID_ARGUMENT',
        `Conv2d: ${name} must be a whole number of at least 1, got ${value}`,
      );
    }
    const { random = initialRandom(), init = {}, bias = false, ...settings } = options;
    const { weightStandardization = false, transitionGradient = 'closed-form', ...rest } = settings;
    const { groups = 1 } = rest;
    check(
      Number.isInteger(groups) && groups >= 1 && inChannels % groups === 0 && outChannels % groups === 0,
      'INVALID_ARGUMENT',
      () => `Conv2d: groups must divide inChannels (${inChannels}) and outChannels (${outChannels}), got ${groups}`,
    );
    check(
      isWeightStandardization(weightStandardization),
      'INVALID_ARGUMENT',
      `Conv2d: weightStandardization must be true, false, "centered" or a positive number, got ${weightStandardization}`,
    );
    checkTransitionGradient('Conv2d', transitionGradient);
    this.weightStandardization = weightStandardization;
    const shape = [outChannels, inChannels / groups, kernel, kernel];
    this.options = rest;
    this.weight = this.parameter(() =>
      device.tensor(varianceScaling(random, shape, init), shape, { format: 'filter' }),
    );
    this.bias = bias ? this.parameter(() => device.zeros([outChannels])) : null;
    this.observed = transitionGradient === 'observed' ? new VarianceSlope(device, shape) : null;
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
    const dilation = spec.value<number | [number, number]>(
      'dilation',
      (value) => isSize(value) || (isList(value, 2) && value.every(isSize)),
      'a whole number of at least 1, or two',
      1,
    );
    const groups = spec.value<number>(
      'groups',
      (value) => isSize(value) && inChannels % value === 0 && outChannels % value === 0,
      `a divisor of ${inChannels} and ${outChannels}`,
      1,
    );
    const bias = spec.flag('bias', false);
    const weightStandardization = Conv2d.standardizationOption(spec);
    const transitionGradient = spec.choice('transitionGradient', transitionGradients, 'closed-form');
    const options = { stride, padding, dilation, groups, bias, weightStandardization, transitionGradient };
    const filters = (inChannels / groups) * outChannels * kernel ** 2;
    const observed = transitionGradient === 'observed' ? filters + 2 * outChannels + 1 : 0;
    return {
      values: filters + (bias ? outChannels : 0) + observed,
      build: (device) => new Conv2d(device, inChannels, outChannels, kernel, options),
    };
  }

  /** Reads the option from a spec. @internal */
  static standardizationOption(spec: SpecReader, fallback: WeightStandardization = false): WeightStandardization {
    const expected = 'true, false, "centered" or a positive number';
    return spec.value('weightStandardization', isWeightStandardization, expected, fallback);
  }

  override spec(): ModuleSpec {
    const [outChannels = 1, inGroup = 1, kernel = 1] = this.weight.shape;
    const { stride = 1, padding = 0, dilation = 1, groups = 1 } = this.options;
    const { weightStandardization } = this;
    const inChannels = inGroup * groups;
    return {
      type: Conv2d.type,
      inChannels,
      outChannels,
      kernel,
      stride,
      padding,
      weightStandardization,
      // Only what isn't the default, so that files without these options stay as they are.
      ...(dilation !== 1 && { dilation }),
      ...(groups !== 1 && { groups }),
      ...(this.bias && { bias: true }),
      ...(this.observed && { transitionGradient: 'observed' }),
    };
  }

  /** Calls `body` with the filter that samples go through, which it must not keep: the weights, or standardized ones. */
  withFilter<T>(body: (filter: Tensor) => T): T {
    const { weight, weightStandardization: standardization } = this;
    if (standardization === false) return body(weight);
    const filter =
      standardization === 'centered'
        ? weightCenter(weight)
        : weightStandardize(weight, standardization === true ? {} : { gain: standardization });
    try {
      return body(filter);
    } finally {
      filter.dispose();
    }
  }

  override forward(x: Tensor): Tensor {
    const { options, bias } = this;
    return this.withFilter((filter) => conv2d(x, filter, options, { bias }));
  }

  override filter({ x, belief }: Filtered): Filtered {
    // Standardized once for both.
    return this.withFilter((filter) => {
      const next = belief && this.propagate(belief, filter, x.shape);
      const { options, bias } = this;
      const y = conv2d(x, filter, options, { bias });
      if (next && this.training) this.observed?.observe(x, y, filter, options);
      return { x: y, belief: next };
    });
  }

  protected override transition(belief: Belief, shape: readonly number[]): Belief {
    return this.withFilter((filter) => this.propagate(belief, filter, shape));
  }

  private propagate(belief: Belief, filter: Tensor, [, , height = 1, width = 1]: readonly number[]): Belief {
    return throughConv2d(belief, filter, this.bias, { ...this.options, height, width }, this.observed);
  }
}

function isWeightStandardization(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value) && value > 0;
  return typeof value === 'boolean' || value === 'centered';
}

registerModule(Conv2d);
