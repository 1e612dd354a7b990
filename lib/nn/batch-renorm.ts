import { noGrad } from '../autograd.js';
import { check } from '../errors.js';
import { batchNorm, normalize } from '../ops/batch-norm.js';
import { add, div, mul, sub } from '../ops/broadcast.js';
import { clamp, relu, sqrt } from '../ops/elementwise.js';
import { reshape } from '../ops/memory.js';
import { type Moments, updateRunning } from '../ops/moments.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';
import { RunningNorm, type RunningNormOptions, runningNormNames } from './norm.js';
import { perSample } from './per-sample.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';
import { Temporaries } from './temporaries.js';

/** Options of {@link BatchRenorm2d}. */
export interface BatchRenormOptions extends RunningNormOptions {
  /** The ratio of deviations is kept within 1 / rMax and rMax; at least 1, default 3. */
  rMax?: number;
  /** The distance of means, in running deviations, is kept within -dMax and dMax; at least 0, default 5. */
  dMax?: number;
}

const optionNames: OptionNames<BatchRenormOptions> = { ...runningNormNames, rMax: true, dMax: true };

/**
 * Batch renormalization (Ioffe 2017) of [N, C, H, W]: ((x - m) / s·r + d)·gamma + beta, with the mean m and the deviation s
 * of a split, r = s / σ and d = (m - μ) / σ, both clipped and without a gradient, and the running averages μ and σ from
 * before the step. Where nothing is clipped that is what inference computes, (x - μ) / σ, while gradients flow through m and
 * s as in batch normalization, which it is with rMax 1 and dMax 0.
 *
 * The limits are the paper's final ones from the first step on: with averages that move by 0.1, not its 0.01, none of its
 * thousands of steps of batch normalization goes ahead. σ² averages the biased variance, so that both modes agree.
 *
 * @example
 * const norm = new BatchRenorm2d(device, 16, { splits: 64 }); // batch of 128: micro-batches of 2
 */
export class BatchRenorm2d extends RunningNorm {
  static readonly type = 'BatchRenorm2d';
  readonly rMax: number;
  readonly dMax: number;

  constructor(device: Device, channels: number, options: BatchRenormOptions = {}) {
    checkOptions('BatchRenorm2d', options, optionNames);
    super(device, channels, options);
    const { rMax = 3, dMax = 5 } = options;
    check(
      Number.isFinite(rMax) && rMax >= 1,
      'INVALID_ARGUMENT',
      `BatchRenorm2d: rMax must be a number of at least 1, got ${rMax}`,
    );
    check(
      Number.isFinite(dMax) && dMax >= 0,
      'INVALID_ARGUMENT',
      `BatchRenorm2d: dMax must be a number of at least 0, got ${dMax}`,
    );
    this.rMax = rMax;
    this.dMax = dMax;
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const options = { ...RunningNorm.runningOptions(spec), ...BatchRenorm2d.limits(spec) };
    const values = RunningNorm.runningValues(channels, options);
    return { values, build: (device) => new BatchRenorm2d(device, channels, options) };
  }

  /** The limits in a spec. @internal */
  static limits(spec: SpecReader) {
    return {
      rMax: spec.number('rMax', 1, Number.MAX_VALUE, 3),
      dMax: spec.number('dMax', 0, Number.MAX_VALUE, 5),
    };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    const { rMax, dMax } = this;
    return { ...super.ownOptions(), rMax, dMax };
  }

  /** @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W] */
  override forward(x: Tensor): Tensor {
    this.checkImages(x);
    const { epsilon, splits, momentum } = this;
    if (!this.training) return normalize(x, this.running, this.affine, { epsilon, relu: this.relu });
    const temporaries = new Temporaries();
    const use = <T extends Tensor | null>(made: T) => temporaries.use(made);
    try {
      const { output, statistics } = batchNorm(x, { gamma: null, beta: null }, { splits, epsilon });
      for (const made of [output, statistics.mean, statistics.variance]) use(made);
      const { r, d } = noGrad(() => this.corrections(statistics, use));
      const { gamma, beta } = this;
      const factor = gamma ? mul(r, gamma) : r;
      const scaled = gamma ? use(mul(d, gamma)) : d;
      const shift = beta ? add(scaled, beta) : scaled;
      const samples = x.shape[0] as number;
      const renormalized = use(mul(output, perSample(factor, samples, temporaries)));
      const y = add(renormalized, perSample(shift, samples, temporaries));
      const allSplits = this.runningStats === 'all-splits';
      updateRunning(this.running, statistics, { splits, momentum, correction: 1, allSplits });
      return this.relu ? relu(use(y)) : y;
    } finally {
      temporaries.dispose();
    }
  }

  /** r and d of every split, [S, C]. */
  private corrections({ mean, variance }: Moments, use: (made: Tensor) => Tensor): { r: Tensor; d: Tensor } {
    const shape = [this.splits, this.channels];
    const deviation = (of: Tensor) => use(sqrt(use(add(of, this.epsilon))));
    const running = deviation(this.runningVariance);
    const ratio = use(div(use(reshape(deviation(variance), shape, 'plain')), running));
    const distance = use(div(use(sub(use(reshape(mean, shape, 'plain')), this.runningMean)), running));
    return {
      r: use(clamp(ratio, 1 / this.rMax, this.rMax)),
      d: use(clamp(distance, -this.dMax, this.dMax)),
    };
  }
}

registerModule(BatchRenorm2d);
