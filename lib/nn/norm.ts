import { checkDevice } from '../arguments.js';
import { check } from '../errors.js';
import type { Affine } from '../ops/batch-norm.js';
import { Belief } from '../ops/belief.js';
import { square } from '../ops/elementwise.js';
import type { Moments, RunningAverages } from '../ops/moments.js';
import type { OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { Layer } from './module.js';
import type { ModuleSpec, SpecReader, SpecValue } from './spec.js';

/** Which splits running averages follow: the mean over all, or the first alone, as in the reference code. */
export type RunningStats = 'all-splits' | 'first-split';

/** Options common to the normalization layers. */
export interface NormLayerOptions {
  /** Added to the variance; default 1e-5. */
  epsilon?: number;
  /** Scale and shift per channel (gamma from 1, beta from 0); default true. */
  affine?: boolean;
  /** Apply ReLU in the same pass; default false. */
  relu?: boolean;
}

/** @internal */
export const normLayerNames: OptionNames<NormLayerOptions> = { epsilon: true, affine: true, relu: true };

/** What every normalization asks of its sizes; messages begin with `name`. @internal */
export function checkNorm(name: string, channels: number, epsilon: number): void {
  check(
    Number.isInteger(channels) && channels >= 1,
    'INVALID_ARGUMENT',
    `${name}: channels must be a whole number of at least 1, got ${channels}`,
  );
  check(
    Number.isFinite(epsilon) && epsilon > 0,
    'INVALID_ARGUMENT',
    `${name}: epsilon must be a positive number, got ${epsilon}`,
  );
}

/** What every running average asks of its momentum; messages begin with `name`. @internal */
export function checkMomentum(name: string, momentum: number): void {
  check(
    momentum >= 0 && momentum <= 1,
    'INVALID_ARGUMENT',
    `${name}: momentum must be between 0 and 1, got ${momentum}`,
  );
}

/** Refuses other samples than [N, channels, H, W]; messages begin with `name`. @internal */
export function checkChannels(name: string, { shape }: Tensor, channels: number): void {
  check(
    shape.length === 4 && shape[1] === channels,
    'SHAPE_MISMATCH',
    () => `${name}: x must have shape [N, ${channels}, H, W], got [${shape.join(', ')}]`,
  );
}

/** Refuses what doesn't cut the channels into equal groups; messages begin with `name`. @internal */
export function checkGroups(name: string, groups: number, channels: number): void {
  check(
    divides(groups, channels),
    'INVALID_ARGUMENT',
    `${name}: groups must be a divisor of the ${channels} channels, got ${groups}`,
  );
}

/** The groups in a spec. @internal */
export function readGroups(spec: SpecReader, channels: number, fallback?: number): number {
  return spec.value('groups', (value) => divides(value, channels), `a divisor of the ${channels} channels`, fallback);
}

function divides(groups: unknown, channels: number): boolean {
  return Number.isInteger(groups) && (groups as number) >= 1 && channels % (groups as number) === 0;
}

/** What normalization layers have in common: `gamma` [C] and `beta` [C]. @internal */
export abstract class Norm extends Layer {
  readonly gamma: Tensor | null;
  readonly beta: Tensor | null;
  readonly epsilon: number;
  readonly relu: boolean;

  constructor(
    device: Device,
    readonly channels: number,
    options: NormLayerOptions,
  ) {
    super();
    checkDevice(new.target.name, device);
    const { epsilon = 1e-5, affine = true, relu = false } = options;
    checkNorm(new.target.name, channels, epsilon);
    this.epsilon = epsilon;
    this.relu = relu;
    this.gamma = affine ? this.parameter(() => device.ones([channels])) : null;
    this.beta = affine ? this.parameter(() => device.zeros([channels])) : null;
  }

  /** The options of a spec that all normalizations have. */
  protected static normOptions(spec: SpecReader) {
    return {
      epsilon: spec.number('epsilon', Number.MIN_VALUE, Number.MAX_VALUE, 1e-5),
      affine: spec.flag('affine', true),
      relu: spec.flag('relu', false),
    };
  }

  /** How many values these options make. */
  protected static normValues(channels: number, { affine }: { affine: boolean }): number {
    return affine ? 2 * channels : 0;
  }

  override spec(): ModuleSpec {
    const { channels, epsilon, relu } = this;
    return { type: this.typeName, channels, epsilon, affine: this.gamma !== null, relu, ...this.ownOptions() };
  }

  private get typeName(): string {
    return (this.constructor as unknown as { type: string }).type;
  }

  /** What a normalization's spec says besides. */
  protected abstract ownOptions(): Readonly<Record<string, SpecValue>>;

  /** Of normalized samples: N(beta, gamma²), rectified where the layer has a ReLU. */
  protected normalized(): Belief {
    const { gamma, beta, relu } = this;
    check(gamma !== null && beta !== null, 'INVALID_ARGUMENT', `${this.constructor.name}: beliefs need affine: true`);
    return new Belief(beta, square(gamma), 1, relu);
  }

  /** Whatever went in, normalized samples come out. */
  protected override transition(): Belief {
    return this.normalized();
  }

  protected get affine(): Affine {
    return { gamma: this.gamma, beta: this.beta };
  }
}

/** Options of the normalizations that keep running averages. */
export interface RunningNormOptions extends NormLayerOptions {
  /** S, how many groups of consecutive samples are normalized apart; default 1. */
  splits?: number;
  /** Weight of the newest batch in the running averages; default 0.1 (TensorFlow's decay 0.9). */
  momentum?: number;
  /** Default `all-splits`. */
  runningStats?: RunningStats;
}

/** @internal */
export const runningNormNames: OptionNames<RunningNormOptions> = {
  ...normLayerNames,
  splits: true,
  momentum: true,
  runningStats: true,
};

/** Normalizations with running averages: `runningMean` [C] from 0 and `runningVariance` [C] from 1. @internal */
export abstract class RunningNorm extends Norm {
  readonly runningMean: Tensor;
  readonly runningVariance: Tensor;
  readonly splits: number;
  readonly momentum: number;
  readonly runningStats: RunningStats;

  constructor(device: Device, channels: number, options: RunningNormOptions) {
    super(device, channels, options);
    const { splits = 1, momentum = 0.1, runningStats = 'all-splits' } = options;
    const name = new.target.name;
    check(
      Number.isInteger(splits) && splits >= 1,
      'INVALID_ARGUMENT',
      `${name}: splits must be a whole number of at least 1, got ${splits}`,
    );
    checkMomentum(name, momentum);
    check(
      runningStats === 'all-splits' || runningStats === 'first-split',
      'INVALID_ARGUMENT',
      `${name}: runningStats must be "all-splits" or "first-split", got "${runningStats}"`,
    );
    this.splits = splits;
    this.momentum = momentum;
    this.runningStats = runningStats;
    this.runningMean = this.buffer(() => device.zeros([channels]));
    this.runningVariance = this.buffer(() => device.ones([channels]));
  }

  /** The options of a spec that normalizations with running averages have. */
  protected static runningOptions(spec: SpecReader) {
    return {
      ...RunningNorm.normOptions(spec),
      splits: spec.size('splits', 1),
      momentum: spec.number('momentum', 0, 1, 0.1),
      runningStats: spec.choice<RunningStats>('runningStats', ['all-splits', 'first-split'], 'all-splits'),
    };
  }

  /** How many values these options make. */
  protected static runningValues(channels: number, options: { affine: boolean }): number {
    return 2 * channels + RunningNorm.normValues(channels, options);
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    const { splits, momentum, runningStats } = this;
    return { splits, momentum, runningStats };
  }

  /**
   * Refuses a batch that training can't split. The usual cause is a single image for a model left in training mode.
   *
   * @param samples of the batch, virtual ones aside
   */
  protected checkSplits(samples: number): void {
    check(
      samples % this.splits === 0,
      'INVALID_ARGUMENT',
      () =>
        `${this.constructor.name}: splits must divide the number of samples in training; ${samples} samples can't be ` +
        `cut into ${this.splits} equal parts. For inference call the model's eval() first`,
    );
  }

  /** Refuses other samples than [N, C, H, W], and a batch that training can't split. */
  protected checkImages(x: Tensor): void {
    checkChannels(this.constructor.name, x, this.channels);
    if (this.training) this.checkSplits(x.shape[0] as number);
  }

  protected get running(): Moments {
    return { mean: this.runningMean, variance: this.runningVariance };
  }

  /** The running averages as a step moves them. */
  protected averages(correction: number): RunningAverages {
    const { running, momentum, runningStats } = this;
    return { ...running, momentum, correction, allSplits: runningStats === 'all-splits' };
  }
}
