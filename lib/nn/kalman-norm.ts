import { check } from '../errors.js';
import {
  type AdaptiveKalmanOptions,
  adaptiveKalmanNorm,
  type FilterOptions,
  filterNames,
  filterRows,
} from '../ops/adaptive-kalman.js';
import { normalize } from '../ops/batch-norm.js';
import { checkTransitionGradient, transitionGradients } from '../ops/transition-gradient.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import type { FilterObserver } from './filter-step.js';
import { type Filtered, samplesAlone } from './filtered.js';
import { RunningNorm, type RunningNormOptions, runningNormNames } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/** Options of {@link KalmanNorm2d}. */
export interface KalmanNormLayerOptions
  extends Omit<RunningNormOptions, 'affine' | 'runningStats'>,
    Omit<AdaptiveKalmanOptions, 'epsilon' | 'relu' | 'splits' | 'momentum'> {}

/**
 * With those that {@link filterOptionsOf} wants to be what they are for other normalizations by default.
 *
 * @internal
 */
export const filterLayerNames: OptionNames<FilterOptions & Pick<RunningNormOptions, 'affine' | 'runningStats'>> = {
  ...filterNames,
  affine: true,
  runningStats: true,
};

const optionNames: OptionNames<KalmanNormLayerOptions & RunningNormOptions> = {
  ...runningNormNames,
  ...filterLayerNames,
};

const defaults: FilterOptions = {
  gain: 'adaptive',
  correction: 0.1,
  adaptation: 0.1,
  gate: 4,
  observationGradient: 'auto',
  transitionGradient: 'closed-form',
};

/** The filter's options with their defaults; refuses bad ones in messages that begin with `owner`. @internal */
export function filterOptionsOf(owner: string, options: Partial<FilterOptions>): FilterOptions {
  // No options of these layers, but of the others, and a file would not have them.
  const { affine = true, runningStats = 'all-splits' } = options as RunningNormOptions;
  check(
    affine === true,
    'INVALID_ARGUMENT',
    `${owner}: affine must be true, as what is believed of its output is N(beta, gamma²), got ${affine}`,
  );
  check(
    runningStats === 'all-splits',
    'INVALID_ARGUMENT',
    `${owner}: runningStats must be "all-splits", got "${runningStats}"`,
  );
  const { gain, correction, adaptation, gate, observationGradient, transitionGradient } = { ...defaults, ...options };
  check(
    gain === 'adaptive' || (typeof gain === 'number' && gain >= 0 && gain <= 1),
    'INVALID_ARGUMENT',
    `${owner}: gain must be "adaptive" or between 0 and 1, got ${gain}`,
  );
  const share = observationGradient === 'auto' ? 0 : observationGradient;
  for (const [name, value] of Object.entries({ correction, adaptation, observationGradient: share })) {
    check(value >= 0 && value <= 1, 'INVALID_ARGUMENT', `${owner}: ${name} must be between 0 and 1, got ${value}`);
  }
  check(gate > 0, 'INVALID_ARGUMENT', `${owner}: gate must be a positive number, got ${gate}`);
  checkTransitionGradient(owner, transitionGradient);
  return { gain, correction, adaptation, gate, observationGradient, transitionGradient };
}

/**
 * Kalman normalization with the adaptive filter: what the layers before make of their own normalized outputs predicts
 * this layer's statistics; a slow average of the prediction's error corrects it, and each split's statistics are fused
 * with it by a gain that is estimated. See {@link adaptiveKalmanNorm} and docs/filter.md.
 *
 * Inference uses running averages of what training normalized by, and ignores priors and splits.
 *
 * `gamma`, `beta`, `runningMean`, `runningVariance`: [C]; `filterState`: [12, C], its rows are {@link filterRows}.
 *
 * @example
 * const norm = new KalmanNorm2d(device, 16, { splits: 64, relu: true });
 * const { x, belief } = norm.filter(conv.filter(input));
 */
export class KalmanNorm2d extends RunningNorm {
  static readonly type = 'KalmanNorm2d';
  declare readonly gamma: Tensor;
  declare readonly beta: Tensor;
  readonly filterState: Tensor;
  /** Is shown each training step that isn't the replay of a recorded one; default null. */
  observer: FilterObserver | null = null;
  private readonly options: FilterOptions;

  constructor(device: Device, channels: number, options: KalmanNormLayerOptions = {}) {
    checkOptions<KalmanNormLayerOptions & RunningNormOptions>('KalmanNorm2d', options, optionNames);
    super(device, channels, options);
    this.options = filterOptionsOf('KalmanNorm2d', options);
    this.filterState = this.buffer(() => device.zeros([filterRows.length, channels]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const { affine: _, runningStats: __, ...running } = RunningNorm.runningOptions(spec);
    const options = { ...running, ...KalmanNorm2d.filterOptions(spec) };
    const values = (4 + filterRows.length) * channels;
    return { values, build: (device) => new KalmanNorm2d(device, channels, options) };
  }

  /** The filter's options in a spec. @internal */
  static filterOptions(spec: SpecReader): FilterOptions {
    const isShare = (value: unknown) => typeof value === 'number' && value >= 0 && value <= 1;
    const isGain = (value: unknown) => value === 'adaptive' || isShare(value);
    const isGradient = (value: unknown) => value === 'auto' || isShare(value);
    return {
      gain: spec.value('gain', isGain, '"adaptive" or a number from 0 to 1', defaults.gain),
      correction: spec.number('correction', 0, 1, defaults.correction),
      adaptation: spec.number('adaptation', 0, 1, defaults.adaptation),
      gate: spec.number('gate', Number.MIN_VALUE, Number.MAX_VALUE, defaults.gate),
      observationGradient: spec.value(
        'observationGradient',
        isGradient,
        '"auto" or a number from 0 to 1',
        defaults.observationGradient,
      ),
      transitionGradient: spec.choice('transitionGradient', transitionGradients, defaults.transitionGradient),
    };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    return { ...super.ownOptions(), ...this.options };
  }

  override get usesBelief(): boolean {
    return true;
  }

  /** As {@link KalmanNorm2d.filter} without a prior: a filter over time alone, as a network's first layer wants it. */
  override forward(x: Tensor): Tensor {
    return samplesAlone(this.filter({ x, belief: null }));
  }

  /**
   * One step of the filter in training, which moves the state; inference otherwise.
   *
   * @returns the normalized samples; in training their belief, N(beta, gamma²), rectified where the layer has a ReLU, and
   *   as `input` the prior, corrected; without one what earlier steps have taught
   */
  override filter({ x, belief: prior }: Filtered): Filtered {
    const { epsilon, relu, splits, momentum, running } = this;
    if (!this.training) {
      return { x: normalize(x, running, this.affine, { epsilon, relu }), belief: null };
    }
    this.checkSplits(x.shape[0] as number);
    const state = { filter: this.filterState, running };
    const options = { ...this.options, epsilon, relu, splits, momentum };
    const { output, normalized, belief, ...found } = adaptiveKalmanNorm(x, prior, this.affine, state, options);
    this.observer?.({ prior, belief, ...found });
    for (const { mean, variance } of Object.values(found)) {
      mean.dispose();
      variance.dispose();
    }
    return { x: output, belief: normalized, input: belief };
  }
}

registerModule(KalmanNorm2d);
