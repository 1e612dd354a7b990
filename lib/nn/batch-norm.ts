import { check } from '../errors.js';
import { type BatchNormEngine, batchNorm, normalize } from '../ops/batch-norm.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { RunningNorm, type RunningNormOptions, runningNormNames } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader } from './spec.js';

/** Options of {@link BatchNorm2d}. */
export interface BatchNormOptions extends RunningNormOptions {
  /** Whose kernels train: ours (default), or cuDNN's on a CUDA device, for the whole batch only. */
  engine?: BatchNormEngine;
}

const optionNames: OptionNames<BatchNormOptions> = { ...runningNormNames, engine: true };

/**
 * Batch normalization (Ioffe and Szegedy 2015) of [N, C, H, W] or [N, C]: (x - mean) / sqrt(variance + epsilon)·gamma +
 * beta. In training mean and biased variance of each split of the batch; in inference running averages, of the unbiased
 * variance.
 *
 * With `splits` it trains as if on that many smaller batches ("split BN", the reference's BatchNorm_SplitGPU).
 *
 * @example
 * const norm = new BatchNorm2d(device, 16, { splits: 64 }); // batch of 128: micro-batches of 2
 */
export class BatchNorm2d extends RunningNorm {
  static readonly type: string = 'BatchNorm2d';
  private readonly engine: BatchNormEngine;

  constructor(device: Device, channels: number, options: BatchNormOptions = {}) {
    checkOptions(new.target.name, options, optionNames);
    super(device, channels, options);
    this.engine = options.engine ?? 'native';
  }

  static plan(spec: SpecReader): ModulePlan {
    const [channels, options] = [spec.size('channels'), RunningNorm.runningOptions(spec)];
    const values = RunningNorm.runningValues(channels, options);
    return { values, build: (device) => new BatchNorm2d(device, channels, options) };
  }

  override forward(x: Tensor): Tensor {
    const { epsilon, relu, splits } = this;
    if (!this.training) return normalize(x, this.running, this.affine, { epsilon, relu });
    const [samples = 1, channels = 1] = x.shape;
    this.checkSplits(samples);
    const count = (samples / splits) * (x.size / (samples * channels));
    const running = this.averages(count / Math.max(count - 1, 1));
    const { output, statistics } = batchNorm(x, this.affine, { splits, epsilon, relu, engine: this.engine, running });
    statistics.mean.dispose();
    statistics.variance.dispose();
    return output;
  }
}

/**
 * {@link BatchNorm2d} of [N, C].
 *
 * @example
 * const norm = new BatchNorm1d(device, 64);
 */
export class BatchNorm1d extends BatchNorm2d {
  static override readonly type: string = 'BatchNorm1d';

  static override plan(spec: SpecReader): ModulePlan {
    const [channels, options] = [spec.size('channels'), RunningNorm.runningOptions(spec)];
    const values = RunningNorm.runningValues(channels, options);
    return { values, build: (device) => new BatchNorm1d(device, channels, options) };
  }

  override forward(x: Tensor): Tensor {
    check(
      x.shape.length === 2,
      'SHAPE_MISMATCH',
      () => `BatchNorm1d: expected samples [N, ${this.channels}], got [${x.shape.join(', ')}]`,
    );
    return super.forward(x);
  }
}

for (const type of [BatchNorm2d, BatchNorm1d]) registerModule(type);
