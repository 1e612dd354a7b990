import { normalizeBy } from '../ops/given-moments.js';
import { updateRunning } from '../ops/moments.js';
import { type StatisticsGroup, syncMoments } from '../ops/sync-moments.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { BatchNorm2d } from './batch-norm.js';
import { RunningNorm, type RunningNormOptions, runningNormNames } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader } from './spec.js';

/** Options of {@link SyncBatchNorm2d}. */
export interface SyncBatchNormOptions extends Omit<RunningNormOptions, 'splits' | 'runningStats'> {
  /** A {@link ProcessGroup} whose processes share their statistics; default: that of the {@link Trainer}, or none. */
  group?: StatisticsGroup;
}

/** Whoever has an object of options for all normalizations may hand it on. */
const optionNames: OptionNames<SyncBatchNormOptions & RunningNormOptions> = { ...runningNormNames, group: true };

/**
 * {@link BatchNorm2d} over the batches of all processes of a group together, as PyTorch's SyncBatchNorm: means and variances
 * are exchanged in the forward pass of training, their gradients in the backward pass. Every process must call it in the
 * same order, with as many samples. Without a group, or in one of one process, it is {@link BatchNorm2d}.
 *
 * The exchange is a part of the device's stream, and of a recorded step.
 *
 * @example
 * const group = await openProcessGroup();
 * const norm = new SyncBatchNorm2d(device, 16, { group });
 */
export class SyncBatchNorm2d extends BatchNorm2d {
  static override readonly type: string = 'SyncBatchNorm2d';
  /** Whose processes share their statistics; null for none. May be set before the first step. */
  group: StatisticsGroup | null;

  constructor(device: Device, channels: number, options: SyncBatchNormOptions = {}) {
    checkOptions<SyncBatchNormOptions & RunningNormOptions>('SyncBatchNorm2d', options, optionNames);
    const { group = null, ...others } = options;
    super(device, channels, { ...others, splits: 1, runningStats: 'all-splits' });
    this.group = group;
  }

  static override plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const options = { ...RunningNorm.normOptions(spec), momentum: spec.number('momentum', 0, 1, 0.1) };
    const values = RunningNorm.runningValues(channels, options);
    return { values, build: (device) => new SyncBatchNorm2d(device, channels, options) };
  }

  protected override ownOptions() {
    return { momentum: this.momentum };
  }

  /**
   * @throws KalmanNormError `DEVICE_MISMATCH` for an NCCL group of another device. A process that ends or hangs makes the
   *   device fail, or wait: read what comes of it through {@link ProcessGroup.watch}
   */
  override forward(x: Tensor): Tensor {
    const { group, epsilon, relu } = this;
    if (!this.training || group === null || group.size === 1) return super.forward(x);
    const statistics = syncMoments(x, group);
    const output = normalizeBy(x, statistics, this.affine, { splits: 1, epsilon, relu });
    const count = (group.size * x.size) / this.channels;
    const correction = count / Math.max(count - 1, 1);
    updateRunning(this.running, statistics, { splits: 1, momentum: this.momentum, correction, allSplits: true });
    statistics.mean.dispose();
    statistics.variance.dispose();
    return output;
  }
}

registerModule(SyncBatchNorm2d);
