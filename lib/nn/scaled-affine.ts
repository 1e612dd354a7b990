import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import { scaleAndShift } from '../ops/given-moments.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Layer, type ModuleSpec } from './module.js';
import { checkChannels } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader } from './spec.js';

/** Options of {@link ScaledAffine2d}. */
export interface ScaledAffineOptions {
  /** f, a positive constant; default 1. */
  factor?: number;
  /** Scale and shift per channel (gamma from 1, beta from 0); default true. */
  affine?: boolean;
  /** Apply ReLU in the same pass; default false. */
  relu?: boolean;
}

const optionNames: OptionNames<ScaledAffineOptions> = { factor: true, affine: true, relu: true };

/**
 * f·(gamma·x + beta) per channel of [N, C, H, W]: where other networks have a normalization, normalizer-free ones (Brock et
 * al. 2021) have the gain and the bias of the convolution before, and a constant for what is expected of its variance. The
 * same in training and inference; one pass, with ReLU.
 *
 * @example
 * const layer = new ScaledAffine2d(device, 16, { factor: 1 / Math.sqrt(expectedVariance), relu: true });
 */
export class ScaledAffine2d extends Layer {
  static readonly type = 'ScaledAffine2d';
  readonly gamma: Tensor | null;
  readonly beta: Tensor | null;
  readonly factor: number;
  readonly relu: boolean;

  constructor(
    device: Device,
    readonly channels: number,
    options: ScaledAffineOptions = {},
  ) {
    super();
    checkDevice('ScaledAffine2d', device);
    checkOptions('ScaledAffine2d', options, optionNames);
    const { factor = 1, affine = true, relu = false } = options;
    check(
      Number.isInteger(channels) && channels >= 1,
      'INVALID_ARGUMENT',
      `ScaledAffine2d: channels must be a whole number of at least 1, got ${channels}`,
    );
    check(
      factor >= 1e-9 && factor <= 1e9,
      'INVALID_ARGUMENT',
      `ScaledAffine2d: factor must be between 1e-9 and 1e9, got ${factor}`,
    );
    this.factor = factor;
    this.relu = relu;
    this.gamma = affine ? this.parameter(() => device.ones([channels])) : null;
    this.beta = affine ? this.parameter(() => device.zeros([channels])) : null;
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const options = {
      factor: spec.number('factor', 1e-9, 1e9, 1),
      affine: spec.flag('affine', true),
      relu: spec.flag('relu', false),
    };
    const values = options.affine ? 2 * channels : 0;
    return { values, build: (device) => new ScaledAffine2d(device, channels, options) };
  }

  override spec(): ModuleSpec {
    const { channels, factor, relu } = this;
    return { type: ScaledAffine2d.type, channels, factor, affine: this.gamma !== null, relu };
  }

  /** @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W] */
  override forward(x: Tensor): Tensor {
    checkChannels('ScaledAffine2d', x, this.channels);
    const { gamma, beta, factor, relu } = this;
    return scaleAndShift(x, { gamma, beta }, { factor, relu });
  }
}

registerModule(ScaledAffine2d);
