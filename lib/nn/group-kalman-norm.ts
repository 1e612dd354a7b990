import { check } from '../errors.js';
import { adaptiveKalmanNorm, type FilterOptions, filterRows, observationShare } from '../ops/adaptive-kalman.js';
import { normalize } from '../ops/batch-norm.js';
import { Belief } from '../ops/belief.js';
import { add, div, mul, sub } from '../ops/broadcast.js';
import { sqrt, square } from '../ops/elementwise.js';
import { scaleAndShift } from '../ops/given-moments.js';
import { broadcastTo } from '../ops/layout.js';
import { reshape } from '../ops/memory.js';
import type { Moments } from '../ops/moments.js';
import { mean } from '../ops/reduce.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { type Filtered, samplesAlone } from './filtered.js';
import { filterLayerNames, filterOptionsOf, KalmanNorm2d, type KalmanNormLayerOptions } from './kalman-norm.js';
import {
  checkChannels,
  checkGroups,
  checkMomentum,
  Norm,
  normLayerNames,
  type RunningNormOptions,
  readGroups,
} from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';
import { Temporaries } from './temporaries.js';

/** Options of {@link GroupKalmanNorm2d}. */
export interface GroupKalmanNormOptions extends Omit<KalmanNormLayerOptions, 'splits'> {
  /** How many groups of channels have a mean and a variance of their own, a divisor of the channels; default 32. */
  groups?: number;
}

type Accepted = GroupKalmanNormOptions & Pick<RunningNormOptions, 'affine' | 'runningStats'>;

const optionNames: OptionNames<Accepted> = { ...normLayerNames, ...filterLayerNames, groups: true, momentum: true };

/**
 * Group Kalman normalization of [N, C, H, W] (the paper's GKN): the observations of the adaptive filter are what group
 * normalization would normalize by, the mean and variance of a group of channels in one sample. See docs/filter.md.
 *
 * What is believed of the channels, N(μ, σ²), makes the group's prior: the mean of the μ, and the mean of the σ² plus the
 * variance of the μ. From there it is {@link KalmanNorm2d} with a group in the place of a channel and a sample in the place of
 * a split, so that micro-batches may have any size. What tells the channels of a group apart passes through, and is part of
 * what is believed of the output. With a gain of 1 it is group normalization in training; with as many groups as channels,
 * `KalmanNorm2d` with as many splits as samples.
 *
 * Inference uses running averages of what training normalized by, and ignores priors.
 *
 * `gamma`, `beta`: [C]; `runningMean`, `runningVariance`: [G]; `filterState`: [10, G], its rows are {@link filterRows}.
 *
 * @example
 * const norm = new GroupKalmanNorm2d(device, 16, { groups: 4, relu: true });
 * const { x, belief } = norm.filter(conv.filter(input));
 */
export class GroupKalmanNorm2d extends Norm {
  static readonly type = 'GroupKalmanNorm2d';
  declare readonly gamma: Tensor;
  declare readonly beta: Tensor;
  readonly groups: number;
  readonly momentum: number;
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;
  readonly filterState: Tensor;
  private readonly options: FilterOptions;

  constructor(device: Device, channels: number, options: GroupKalmanNormOptions = {}) {
    checkOptions<Accepted>('GroupKalmanNorm2d', options, optionNames);
    super(device, channels, options);
    const { groups = 32, momentum = 0.1 } = options;
    checkGroups('GroupKalmanNorm2d', groups, channels);
    checkMomentum('GroupKalmanNorm2d', momentum);
    this.options = filterOptionsOf('GroupKalmanNorm2d', options);
    this.groups = groups;
    this.momentum = momentum;
    this.runningMean = this.buffer(() => device.zeros([groups]));
    this.runningVariance = this.buffer(() => device.ones([groups]));
    this.filterState = this.buffer(() => device.zeros([filterRows.length, groups]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const { affine: _, ...own } = Norm.normOptions(spec);
    const groups = readGroups(spec, channels, 32);
    const momentum = spec.number('momentum', 0, 1, 0.1);
    const options = { ...own, groups, momentum, ...KalmanNorm2d.filterOptions(spec) };
    const values = 2 * channels + (2 + filterRows.length) * groups;
    return { values, build: (device) => new GroupKalmanNorm2d(device, channels, options) };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    const { groups, momentum } = this;
    return { groups, momentum, ...this.options };
  }

  override get usesBelief(): boolean {
    return true;
  }

  /** As {@link GroupKalmanNorm2d.filter} without a prior. */
  override forward(x: Tensor): Tensor {
    return samplesAlone(this.filter({ x, belief: null }));
  }

  /**
   * One step of the filter in training, which moves the state; inference otherwise.
   *
   * @returns the normalized samples; in training what is believed of them, rectified where the layer has a ReLU, and as
   *   `input` the prior, corrected
   * @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W]; `INVALID_ARGUMENT` for a prior of several
   *   splits
   */
  override filter({ x, belief: prior }: Filtered): Filtered {
    const { channels } = this;
    checkChannels('GroupKalmanNorm2d', x, channels);
    check(
      prior === null || (prior.splits === 1 && prior.mean.size === channels),
      'INVALID_ARGUMENT',
      () => `GroupKalmanNorm2d: prior must be one belief of ${channels} channels for all samples`,
    );
    const temporaries = new Temporaries();
    try {
      return this.training ? this.step(x, prior, temporaries) : { x: this.infer(x, temporaries), belief: null };
    } finally {
      temporaries.dispose();
    }
  }

  private infer(x: Tensor, temporaries: Temporaries): Tensor {
    const { epsilon, relu, runningMean: mean, runningVariance: variance } = this;
    return normalize(x, this.perChannel({ mean, variance }, temporaries), this.affine, { epsilon, relu });
  }

  private step(x: Tensor, prior: Belief | null, temporaries: Temporaries): Filtered {
    const use = <T extends { dispose(): void } | null>(made: T) => temporaries.use(made);
    const { channels, groups, epsilon, momentum, relu, gamma, beta } = this;
    const [samples = 1, , height = 1, width = 1] = x.shape;
    const known = prior && this.pooled(prior, temporaries);
    const { output, belief, observation, posterior, gain } = adaptiveKalmanNorm(
      use(reshape(x, [samples, groups, (channels / groups) * height, width])),
      known,
      { gamma: null, beta: null },
      { filter: this.filterState, running: { mean: this.runningMean, variance: this.runningVariance } },
      { ...this.options, observationGradient: this.observationGradient, epsilon, momentum, splits: samples },
    );
    for (const { mean, variance } of [observation, posterior, gain]) for (const one of [mean, variance]) use(one);
    const y = scaleAndShift(use(reshape(use(output), x.shape)), this.affine, { relu });
    const corrected = this.perChannel(use(belief), temporaries);
    if (!prior || !known) {
      const input = new Belief(corrected.mean.detach(), corrected.variance.detach(), 1);
      return { x: y, belief: this.normalized(), input };
    }

    // What tells a channel from its group, in deviations of the group's prior: the correction leaves it.
    const group = this.perChannel(known, temporaries);
    const power = use(add(group.variance, epsilon));
    const distance = use(div(use(sub(prior.mean, group.mean)), use(sqrt(power))));
    const share = use(div(prior.variance, power));
    const wide = use(add(corrected.variance, epsilon));
    const center = add(corrected.mean, use(mul(distance, use(sqrt(wide)))));
    const shifted = add(use(mul(gamma, distance)), beta);
    return {
      x: y,
      belief: new Belief(shifted, mul(use(square(gamma)), share), 1, relu),
      input: new Belief(center, mul(share, wide), 1),
    };
  }

  /** What a group's statistics take from a sample's channel is what all of them share, itself included. */
  private get observationGradient(): number {
    return observationShare(1 - this.groups / this.channels, this.options);
  }

  /** The moments of groups, by those of their channels. */
  private pooled(belief: Belief, temporaries: Temporaries): Belief {
    const use = (made: Tensor) => temporaries.use(made);
    const rows = [this.groups, this.channels / this.groups];
    const [means, variances] = [use(reshape(belief.mean, rows)), use(reshape(belief.variance, rows))];
    const center = use(mean(means, { axes: 1, keepDims: true }));
    const spread = use(add(variances, use(square(use(sub(means, center))))));
    return temporaries.use(new Belief(reshape(center, [this.groups]), mean(spread, { axes: 1 }), 1));
  }

  /** Vectors [G] as vectors [C]. */
  private perChannel({ mean, variance }: Moments | Belief, temporaries: Temporaries): Moments {
    const { channels, groups } = this;
    const spread = (vector: Tensor) => {
      const column = temporaries.use(reshape(vector, [groups, 1]));
      const rows = temporaries.use(broadcastTo(column, [groups, channels / groups]));
      return temporaries.use(reshape(rows, [channels]));
    };
    return { mean: spread(mean), variance: spread(variance) };
  }
}

registerModule(GroupKalmanNorm2d);
