import { type BatchNormEngine, batchNorm, normalize } from '../ops/batch-norm.js';
import { updateRunning } from '../ops/moments.js';
import type { Device, Tensor } from '../tensor.js';
import { RunningNorm, type RunningNormOptions } from './norm.js';

/** Options of {@link BatchNorm2d}. */
export interface BatchNormOptions extends RunningNormOptions {
  /** Whose kernels train: ours (default), or cuDNN's on a CUDA device, for the whole batch only. */
  engine?: BatchNormEngine;
}

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
  private readonly engine: BatchNormEngine;

  constructor(device: Device, channels: number, options: BatchNormOptions = {}) {
    super(device, channels, options);
    this.engine = options.engine ?? 'native';
  }

  override forward(x: Tensor): Tensor {
    const { epsilon, relu, splits } = this;
    if (!this.training) return normalize(x, this.running, this.affine, { epsilon, relu });
    const { output, statistics } = batchNorm(x, this.affine, { splits, epsilon, relu, engine: this.engine });
    const [samples = 1, channels = 1] = x.shape;
    const count = (samples / splits) * (x.size / (samples * channels));
    updateRunning(this.running, statistics, {
      splits,
      momentum: this.momentum,
      correction: count / Math.max(count - 1, 1),
      allSplits: this.runningStats === 'all-splits',
    });
    statistics.mean.dispose();
    statistics.variance.dispose();
    return output;
  }
}
