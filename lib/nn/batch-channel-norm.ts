import { noGrad } from '../autograd.js';
import { normalize } from '../ops/batch-norm.js';
import { groupNorm } from '../ops/group-norm.js';
import { moments, updateRunning } from '../ops/moments.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { checkGroups, RunningNorm, type RunningNormOptions, readGroups } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/** Options of {@link BatchChannelNorm2d}. */
export interface BatchChannelNormOptions extends Omit<RunningNormOptions, 'affine'> {
  /** How many groups of channels the second normalization has, a divisor of the channels; default 32, as in the paper. */
  groups?: number;
}

const optionNames: OptionNames<BatchChannelNormOptions> = {
  groups: true,
  epsilon: true,
  relu: true,
  splits: true,
  momentum: true,
  runningStats: true,
};

/**
 * Batch-channel normalization (Qiao et al. 2019) of [N, C, H, W], as it is meant for micro-batches: by running averages,
 * which the batch has moved first and through which no gradient flows, with scale `batchGamma` [C] from 1 and shift
 * `batchBeta` [C] from 0; then group normalization, with `gamma` [C] and `beta` [C]. The averages keep units from dying,
 * which group normalization alone lets happen. With splits the averages follow the mean of their statistics; the variance
 * is the biased one. Inference is the same, with averages that stay.
 *
 * @example
 * const norm = new BatchChannelNorm2d(device, 16, { groups: 4, splits: 64 });
 */
export class BatchChannelNorm2d extends RunningNorm {
  static readonly type = 'BatchChannelNorm2d';
  readonly batchGamma: Tensor;
  readonly batchBeta: Tensor;
  readonly groups: number;

  constructor(device: Device, channels: number, options: BatchChannelNormOptions = {}) {
    checkOptions('BatchChannelNorm2d', options, optionNames);
    super(device, channels, options);
    const { groups = 32 } = options;
    checkGroups('BatchChannelNorm2d', groups, channels);
    this.groups = groups;
    this.batchGamma = this.parameter(() => device.ones([channels]));
    this.batchBeta = this.parameter(() => device.zeros([channels]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const { affine: _, ...running } = RunningNorm.runningOptions(spec);
    const options = { ...running, groups: readGroups(spec, channels, 32) };
    return { values: 6 * channels, build: (device) => new BatchChannelNorm2d(device, channels, options) };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    return { ...super.ownOptions(), groups: this.groups };
  }

  /** @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W] */
  override forward(x: Tensor): Tensor {
    this.checkImages(x);
    const { epsilon, relu, groups } = this;
    if (this.training) noGrad(() => this.observe(x));
    const estimated = normalize(x, this.running, { gamma: this.batchGamma, beta: this.batchBeta }, { epsilon });
    const y = groupNorm(estimated, groups, this.affine, { epsilon, relu });
    estimated.dispose();
    return y;
  }

  private observe(x: Tensor): void {
    const { splits, momentum, runningStats } = this;
    const known = x.moments?.splits === splits ? x.moments : null;
    const statistics = known ?? moments(x, splits);
    const allSplits = runningStats === 'all-splits';
    updateRunning(this.running, statistics, { splits, momentum, correction: 1, allSplits });
    if (known) return;
    statistics.mean.dispose();
    statistics.variance.dispose();
  }
}

registerModule(BatchChannelNorm2d);
