import { checkDevice } from '../arguments.js';
import { add, mul, sub } from '../ops/broadcast.js';
import { pow, relu, sigmoid, square } from '../ops/elementwise.js';
import { broadcastTo } from '../ops/layout.js';
import { reshape } from '../ops/memory.js';
import { mean } from '../ops/reduce.js';
import { checkOptions } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Layer } from './module.js';
import { checkChannels, checkGroups, checkNorm, readGroups } from './norm.js';
import { type ModulePlan, type ModuleSpec, registerModule, type SpecReader } from './spec.js';

/** Options of the normalizations that bring their own activation. */
export interface ActivatedNormOptions {
  /** Added to what is divided by, under the root. Default: the paper's, 1e-6 for FRN and 1e-5 for EvoNorm. */
  epsilon?: number;
}

/** What they have in common: a scale `gamma` [C] from 1 and a shift `beta` [C] from 0. @internal */
abstract class ActivatedNorm extends Layer {
  readonly gamma: Tensor;
  readonly beta: Tensor;
  readonly epsilon: number;

  constructor(
    device: Device,
    readonly channels: number,
    options: ActivatedNormOptions,
    defaultEpsilon: number,
  ) {
    super();
    checkDevice(new.target.name, device);
    const { epsilon = defaultEpsilon } = options;
    checkNorm(new.target.name, channels, epsilon);
    this.epsilon = epsilon;
    this.gamma = this.parameter(() => device.ones([channels]));
    this.beta = this.parameter(() => device.zeros([channels]));
  }

  /** @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W] */
  override forward(x: Tensor): Tensor {
    checkChannels(this.constructor.name, x, this.channels);
    const made: Tensor[] = [];
    const use = (tensor: Tensor) => {
      made.push(tensor);
      return tensor;
    };
    try {
      return this.activated(x, use, (vector) => use(reshape(vector, [this.channels, 1, 1])));
    } finally {
      // The tape keeps what backward needs.
      for (const tensor of made) tensor.dispose();
    }
  }

  /**
   * @param use takes note of a tensor that is freed behind forward
   * @param perChannel a vector [C] as [C, 1, 1], which broadcasts to the samples
   */
  protected abstract activated(
    x: Tensor,
    use: (made: Tensor) => Tensor,
    perChannel: (vector: Tensor) => Tensor,
  ): Tensor;
}

/**
 * Filter response normalization with a thresholded linear unit (Singh and Krishnan 2020) of [N, C, H, W]:
 * max(γ·x / sqrt(ν² + ε) + β, τ), where ν² is the mean square of a channel of a sample: nothing is subtracted. Scale `gamma`
 * [C] from 1, shift `beta` [C] from 0 and threshold `tau` [C] from 0. The same in training and inference. Needs many pixels:
 * of a single one only the sign remains; the paper's learned ε for that case isn't here.
 *
 * @example
 * const net = new Sequential(new Conv2d(device, 3, 16, 3), new FilterResponseNorm2d(device, 16)); // no ReLU behind it
 */
export class FilterResponseNorm2d extends ActivatedNorm {
  static readonly type = 'FilterResponseNorm2d';
  readonly tau: Tensor;

  constructor(device: Device, channels: number, options: ActivatedNormOptions = {}) {
    checkOptions('FilterResponseNorm2d', options, { epsilon: true });
    super(device, channels, options, 1e-6);
    this.tau = this.parameter(() => device.zeros([channels]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const epsilon = spec.number('epsilon', Number.MIN_VALUE, Number.MAX_VALUE, 1e-6);
    return { values: 3 * channels, build: (device) => new FilterResponseNorm2d(device, channels, { epsilon }) };
  }

  override spec(): ModuleSpec {
    const { channels, epsilon } = this;
    return { type: FilterResponseNorm2d.type, channels, epsilon };
  }

  protected override activated(
    x: Tensor,
    use: (made: Tensor) => Tensor,
    perChannel: (vector: Tensor) => Tensor,
  ): Tensor {
    const tau = perChannel(this.tau);
    const power = use(mean(use(square(x)), { axes: [2, 3], keepDims: true }));
    const factor = use(mul(perChannel(this.gamma), use(pow(use(add(power, this.epsilon)), -0.5))));
    // max(y, τ) as ReLU(y - τ) + τ: its gradient is one pass.
    const above = use(add(use(mul(x, factor)), use(sub(perChannel(this.beta), tau))));
    return add(use(relu(above)), tau);
  }
}

/** Options of {@link EvoNormS0}. */
export interface EvoNormOptions extends ActivatedNormOptions {
  /** How many groups of channels have a deviation of their own, a divisor of the channels; default 32, as in the paper. */
  groups?: number;
}

/**
 * EvoNorm-S0 (Liu et al. 2020) of [N, C, H, W]: γ·x·sigmoid(v·x) / σ + β, where σ² is the biased variance, plus ε, of a
 * sample's group of C / groups channels. Scale `gamma` [C] and `v` [C] from 1, shift `beta` [C] from 0. A layer that was
 * found by search: normalization and activation in one. The same in training and inference.
 *
 * @example
 * const net = new Sequential(new Conv2d(device, 3, 16, 3), new EvoNormS0(device, 16, { groups: 4 })); // no ReLU behind it
 */
export class EvoNormS0 extends ActivatedNorm {
  static readonly type = 'EvoNormS0';
  readonly v: Tensor;
  readonly groups: number;

  constructor(device: Device, channels: number, options: EvoNormOptions = {}) {
    checkOptions('EvoNormS0', options, { groups: true, epsilon: true });
    super(device, channels, options, 1e-5);
    const { groups = 32 } = options;
    checkGroups('EvoNormS0', groups, channels);
    this.groups = groups;
    this.v = this.parameter(() => device.ones([channels]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const groups = readGroups(spec, channels, 32);
    const epsilon = spec.number('epsilon', Number.MIN_VALUE, Number.MAX_VALUE, 1e-5);
    return { values: 3 * channels, build: (device) => new EvoNormS0(device, channels, { groups, epsilon }) };
  }

  override spec(): ModuleSpec {
    const { channels, groups, epsilon } = this;
    return { type: EvoNormS0.type, channels, groups, epsilon };
  }

  protected override activated(
    x: Tensor,
    use: (made: Tensor) => Tensor,
    perChannel: (vector: Tensor) => Tensor,
  ): Tensor {
    // The mean first: squares of deviations don't cancel.
    const deviation = use(sub(x, this.groupMean(x, use)));
    const variance = this.groupMean(use(square(deviation)), use);
    const factor = use(mul(perChannel(this.gamma), use(pow(use(add(variance, this.epsilon)), -0.5))));
    const gated = use(mul(x, use(sigmoid(use(mul(x, perChannel(this.v)))))));
    return add(use(mul(gated, factor)), perChannel(this.beta));
  }

  /** Means over the pixels and channels of groups, for each of their channels: [N, C, 1, 1]. */
  private groupMean(x: Tensor, use: (made: Tensor) => Tensor): Tensor {
    const [samples = 0] = x.shape;
    const each = [samples, this.groups, this.channels / this.groups];
    const ofChannels = use(reshape(use(mean(x, { axes: [2, 3] })), each));
    const means = use(mean(ofChannels, { axes: 2, keepDims: true }));
    return use(reshape(use(broadcastTo(means, each)), [samples, this.channels, 1, 1], 'plain'));
  }
}

for (const type of [FilterResponseNorm2d, EvoNormS0]) registerModule(type);
