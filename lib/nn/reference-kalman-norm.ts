import { check } from '../errors.js';
import { normalize } from '../ops/batch-norm.js';
import type { Belief } from '../ops/belief.js';
import { sigmoid } from '../ops/elementwise.js';
import { kalmanNorm } from '../ops/kalman.js';
import type { Noise } from '../ops/predict.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import type { FilterObserver } from './filter-step.js';
import { RunningNorm, type RunningNormOptions, runningNormNames } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/** Options of {@link ReferenceKalmanNorm2d}. */
export interface ReferenceKalmanNormOptions extends RunningNormOptions {
  /**
   * q, the weight of the batch statistics against the prior, in [0, 1]; default 0.1. The reference's p_rate is 1 - q.
   * `learned`: one a channel, the sigmoid of the parameter `gainLogit`, as in the paper's formulation.
   */
  gain?: number | 'learned';
  /** Where a learned gain starts, in (0, 1); default 0.1. */
  initialGain?: number;
  /** The prior is dropped where it exceeds the batch variance this many times on average; default 100. */
  guard?: number;
}

const optionNames: OptionNames<ReferenceKalmanNormOptions> = {
  ...runningNormNames,
  gain: true,
  initialGain: true,
  guard: true,
};

/** What a Kalman layer hands on. */
export interface ReferenceKalmanOutput {
  /** The normalized samples, then the virtual ones where noise was given. */
  output: Tensor;
  /** The filtered statistics of the layer's input; null in inference, where nothing depends on them. */
  posterior: Belief | null;
}

/**
 * Kalman normalization (Wang et al., NeurIPS 2018): normalizes by statistics that fuse those of the batch with a prior
 * predicted from the layer before. With p = 1 - gain:
 *
 * m = p·pm + (1-p)·mu, v = p·pv + (1-p)·var + p(1-p)(mu - pm)², y = (x - m) / sqrt(v + epsilon)·gamma + beta
 *
 * Running averages follow the filtered statistics; inference uses them and ignores priors and splits.
 *
 * @example
 * const norm = new ReferenceKalmanNorm2d(device, 16, { splits: 64, gain: 0.1 });
 * const { output, posterior } = norm.step(x, prior);
 */
export class ReferenceKalmanNorm2d extends RunningNorm {
  static readonly type = 'ReferenceKalmanNorm2d';
  readonly gain: number | 'learned';
  /** [C]; null where the gain isn't learned. */
  readonly gainLogit: Tensor | null = null;
  readonly guard: number;
  /** Two values of the last training step: the guard's ratio, and 1 where the prior was used. */
  lastRatio: Tensor | null = null;
  /** Is shown each training step that isn't the replay of a recorded one; default null. */
  observer: FilterObserver | null = null;

  constructor(device: Device, channels: number, options: ReferenceKalmanNormOptions = {}) {
    checkOptions('ReferenceKalmanNorm2d', options, optionNames);
    super(device, channels, options);
    const { gain = 0.1, initialGain = 0.1, guard = 100 } = options;
    check(
      gain === 'learned' || (typeof gain === 'number' && gain >= 0 && gain <= 1),
      'INVALID_ARGUMENT',
      `ReferenceKalmanNorm2d: gain must be "learned" or between 0 and 1, got ${gain}`,
    );
    check(
      initialGain > 0 && initialGain < 1,
      'INVALID_ARGUMENT',
      `ReferenceKalmanNorm2d: initialGain must lie between 0 and 1, got ${initialGain}`,
    );
    check(guard > 0, 'INVALID_ARGUMENT', `ReferenceKalmanNorm2d: guard must be a positive number, got ${guard}`);
    this.gain = gain;
    if (gain === 'learned') {
      const logit = Math.log(initialGain / (1 - initialGain));
      this.gainLogit = this.parameter(() => device.full([channels], logit));
    }
    this.guard = guard;
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const options = { ...RunningNorm.runningOptions(spec), ...ReferenceKalmanNorm2d.filterOptions(spec) };
    const values = RunningNorm.runningValues(channels, options) + (options.gain === 'learned' ? channels : 0);
    return { values, build: (device) => new ReferenceKalmanNorm2d(device, channels, options) };
  }

  /** The filter's options in a spec. @internal */
  static filterOptions(spec: SpecReader): { gain: number | 'learned'; guard: number } {
    const isGain = (value: unknown) => value === 'learned' || (typeof value === 'number' && value >= 0 && value <= 1);
    return {
      gain: spec.value<number | 'learned'>('gain', isGain, '"learned" or a number from 0 to 1', 0.1),
      guard: spec.number('guard', Number.MIN_VALUE, Number.MAX_VALUE, 100),
    };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    return { ...super.ownOptions(), gain: this.gain, guard: this.guard };
  }

  /** Without a prior, as in the first layer of a network. */
  override forward(x: Tensor): Tensor {
    const { output, posterior } = this.step(x, null);
    posterior?.dispose();
    return output;
  }

  /**
   * One step of the filter.
   *
   * @param x real samples [N, C, H, W] (or [N, C]); with `carried` one virtual sample a split behind them
   * @param prior the prediction from the layer before; `carried`: the moments of the virtual samples; null: none
   * @param noise for virtual samples of the rectified posterior behind the output (training only)
   */
  step(x: Tensor, prior: Belief | 'carried' | null, noise: Noise | null = null): ReferenceKalmanOutput {
    const { epsilon, relu, splits, guard } = this;
    if (!this.training) {
      return { output: normalize(x, this.running, this.affine, { epsilon, relu }), posterior: null };
    }
    if (prior !== 'carried') this.checkSplits(x.shape[0] as number);
    const learned = this.gainLogit && sigmoid(this.gainLogit);
    const gain = learned ?? (this.gain as number);
    // The posterior's variance is the one to average: filtered, or unbiased where there was no prior.
    const running = this.averages(1);
    const result = kalmanNorm(x, prior, this.affine, { splits, gain, guard, epsilon, relu, sample: noise, running });
    const { posterior, observation, ratio } = result;
    this.observer?.({
      prior: result.prior,
      belief: result.prior,
      observation,
      posterior,
      gain: { mean: gain, variance: gain },
      guard: ratio,
    });
    learned?.dispose();
    for (const used of [observation, result.prior]) {
      used?.mean.dispose();
      used?.variance.dispose();
    }
    this.lastRatio?.dispose();
    this.lastRatio = ratio.keep();
    return { output: result.output, posterior };
  }

  override dispose(): void {
    this.lastRatio?.dispose();
    super.dispose();
  }
}

registerModule(ReferenceKalmanNorm2d);
