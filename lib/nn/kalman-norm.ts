import { check } from '../errors.js';
import { type AdaptiveKalmanOptions, adaptiveKalmanNorm, filterRows } from '../ops/adaptive-kalman.js';
import { normalize } from '../ops/batch-norm.js';
import { Belief } from '../ops/belief.js';
import { square } from '../ops/elementwise.js';
import type { Device, Tensor } from '../tensor.js';
import type { Filtered } from './filtered.js';
import { Norm, type NormLayerOptions } from './norm.js';

/** Options of {@link KalmanNorm2d}. */
export interface KalmanNormLayerOptions
  extends Omit<NormLayerOptions, 'affine'>,
    Omit<AdaptiveKalmanOptions, 'epsilon' | 'relu'> {}

/** What a Kalman normalization hands on. */
export interface KalmanFiltered extends Filtered {
  /** The normalized samples. */
  x: Tensor;
  /** Of the normalized samples: N(beta, gamma²), rectified where the layer has a ReLU; null in inference. */
  belief: Belief | null;
  /** Of the layer's input: the prior, corrected; null in inference, and without a prior. */
  input: Belief | null;
}

/**
 * Kalman normalization with the adaptive filter: what the layers before make of their own normalized outputs predicts
 * this layer's statistics; a slow average of the prediction's error corrects it, and each split's statistics are fused
 * with it by a gain that is estimated. See {@link adaptiveKalmanNorm} and docs/filter.md.
 *
 * Inference uses running averages of what training normalized by, and ignores priors and splits.
 *
 * `gamma`, `beta`, `runningMean`, `runningVariance`: [C]; `filterState`: [9, C], its rows are {@link filterRows}.
 *
 * @example
 * const norm = new KalmanNorm2d(device, 16, { splits: 64, relu: true });
 * const { x, belief } = norm.filter(conv.filter(input));
 */
export class KalmanNorm2d extends Norm {
  declare readonly gamma: Tensor;
  declare readonly beta: Tensor;
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;
  readonly filterState: Tensor;
  readonly splits: number;
  private readonly options: AdaptiveKalmanOptions;

  constructor(device: Device, channels: number, options: KalmanNormLayerOptions = {}) {
    super(device, channels, options);
    const { splits = 1, gain = 'adaptive', ...rest } = options;
    check(
      Number.isInteger(splits) && splits >= 1,
      'INVALID_ARGUMENT',
      `KalmanNorm2d: splits must be a whole number of at least 1, got ${splits}`,
    );
    check(
      gain === 'adaptive' || (typeof gain === 'number' && gain >= 0 && gain <= 1),
      'INVALID_ARGUMENT',
      `KalmanNorm2d: gain must be "adaptive" or between 0 and 1, got ${gain}`,
    );
    for (const name of ['correction', 'adaptation', 'observationGradient', 'momentum'] as const) {
      const value = rest[name];
      check(
        value === undefined || (value >= 0 && value <= 1),
        'INVALID_ARGUMENT',
        `KalmanNorm2d: ${name} must be between 0 and 1, got ${value}`,
      );
    }
    check(
      rest.gate === undefined || rest.gate > 0,
      'INVALID_ARGUMENT',
      `KalmanNorm2d: gate must be a positive number, got ${rest.gate}`,
    );
    this.splits = splits;
    this.options = { ...rest, splits, gain, epsilon: this.epsilon, relu: this.relu };
    this.runningMean = this.buffer(() => device.zeros([channels]));
    this.runningVariance = this.buffer(() => device.ones([channels]));
    this.filterState = this.buffer(() => device.zeros([filterRows.length, channels]));
  }

  /** As {@link KalmanNorm2d.filter} without a prior: a filter over time alone. */
  override forward(x: Tensor): Tensor {
    const { x: output, belief, input } = this.filter({ x, belief: null });
    belief?.dispose();
    input?.dispose();
    return output;
  }

  /** One step of the filter in training, which moves the state; inference otherwise. */
  filter({ x, belief: prior }: Filtered): KalmanFiltered {
    const { epsilon, relu } = this;
    const running = { mean: this.runningMean, variance: this.runningVariance };
    if (!this.training) {
      return { x: normalize(x, running, this.affine, { epsilon, relu }), belief: null, input: null };
    }
    const state = { filter: this.filterState, running };
    const { output, belief } = adaptiveKalmanNorm(x, prior, this.affine, state, this.options);
    if (!prior) belief.dispose();
    return { x: output, belief: new Belief(this.beta, square(this.gamma), 1, relu), input: prior ? belief : null };
  }
}
