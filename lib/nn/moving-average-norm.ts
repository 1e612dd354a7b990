import type { Handle } from '../addon/contract.js';
import { noGrad } from '../autograd.js';
import { check } from '../errors.js';
import { normalize } from '../ops/batch-norm.js';
import { add, div, greater, mul, sub, where } from '../ops/broadcast.js';
import { differentiable } from '../ops/differentiable.js';
import { abs, addInto, clamp, scale } from '../ops/elementwise.js';
import { meanSquares, normalizeBy } from '../ops/given-moments.js';
import { concat } from '../ops/layout.js';
import { matmul } from '../ops/linear.js';
import { reshape, samples } from '../ops/memory.js';
import { checkOptions, type OptionNames } from '../options.js';
import { noScope, scope } from '../scope.js';
import { type Device, Tensor } from '../tensor.js';
import { RunningNorm, type RunningNormOptions } from './norm.js';
import { type ModulePlan, registerModule, type SpecReader, type SpecValue } from './spec.js';

/** Options of {@link MovingAverageBatchNorm2d}. */
export interface MovingAverageBatchNormOptions extends Omit<RunningNormOptions, 'affine' | 'runningStats'> {
  /** W, how many micro-batches a moving average has; at least 2, default 16. */
  window?: number;
  /** How many micro-batches are normalized by their own statistics first; default 100. */
  warmUp?: number;
  /** Weight of the newest micro-batch, not batch, in the running average; default 0.02. */
  momentum?: number;
}

const optionNames: OptionNames<MovingAverageBatchNormOptions> = {
  window: true,
  warmUp: true,
  momentum: true,
  splits: true,
  epsilon: true,
  relu: true,
};

/** How a batch of S micro-batches takes its averages: matrices over micro-batches in their order. */
interface Averages {
  /** [S, W - 1 + S]: the mean of each micro-batch and the W - 1 before it. */
  window: Tensor;
  /** [S + 1, S] and [S + 1, 1]: running averages before each micro-batch and behind the last, of the micro-batches... */
  running: Tensor;
  /** ...and of the average before all of them. */
  decay: Tensor;
  /** [S, 1]: 1, 2, ..., S. */
  place: Tensor;
}

/** Renormalization begins behind so many micro-batches, and is clipped to this ratio and its inverse. */
const RENORM_AFTER = 1000;
const RATIO = 5;

/**
 * Moving average batch normalization, MABN (Yan et al. 2020, algorithm 2), of [N, C, H, W]: x·r / sqrt(v + ε)·gamma + beta,
 * where v is the mean of x² over the last W micro-batches; nothing is subtracted, which is what centered filters are
 * for (`weightStandardization: 'centered'` of `Conv2d`). In the backward pass the mean of gradient times output, which batch
 * normalization takes away along the output, is one over W micro-batches too. The ratio r = sqrt((v + ε) / (running + ε)),
 * without a gradient and clipped to 1/5 and 5, makes of v the running average that inference uses.
 *
 * Splits are micro-batches one after the other: of the state that the second finds, the first is a part. With one split a
 * batch it is the authors' code, whose constants these are, in iterations: 100 micro-batches of warm-up by their own
 * statistics, no r in the first 1,000.
 *
 * `runningVariance`: [C], the running average of v; `runningMean` stays 0. `squares`, `gradients`: [W - 1, C], what moving
 * averages go on from; `microBatches`: [1], how many there have been.
 *
 * @example
 * const norm = new MovingAverageBatchNorm2d(device, 16, { splits: 64 }); // batch of 128: micro-batches of 2
 */
export class MovingAverageBatchNorm2d extends RunningNorm {
  static readonly type = 'MovingAverageBatchNorm2d';
  readonly window: number;
  readonly warmUp: number;
  readonly squares: Tensor;
  readonly gradients: Tensor;
  readonly microBatches: Tensor;
  /** Made by the first step of training: a file that is only loaded can't ask for S² values. */
  #averages: Averages | null = null;

  constructor(device: Device, channels: number, options: MovingAverageBatchNormOptions = {}) {
    checkOptions('MovingAverageBatchNorm2d', options, optionNames);
    super(device, channels, { momentum: 0.02, ...options });
    const { window = 16, warmUp = 100 } = options;
    for (const [name, value, least] of [
      ['window', window, 2],
      ['warmUp', warmUp, 0],
    ] as const) {
      check(
        Number.isInteger(value) && value >= least,
        'INVALID_ARGUMENT',
        `MovingAverageBatchNorm2d: ${name} must be a whole number of at least ${least}, got ${value}`,
      );
    }
    this.window = window;
    this.warmUp = warmUp;
    this.squares = this.buffer(() => device.zeros([window - 1, channels]));
    this.gradients = this.buffer(() => device.zeros([window - 1, channels]));
    this.microBatches = this.buffer(() => device.zeros([1]));
  }

  static plan(spec: SpecReader): ModulePlan {
    const channels = spec.size('channels');
    const { affine: _, runningStats: __, momentum: ___, ...running } = RunningNorm.runningOptions(spec);
    const options = { ...running, ...MovingAverageBatchNorm2d.averageOptions(spec) };
    const values = (4 + 2 * (options.window - 1)) * channels + 1;
    return { values, build: (device) => new MovingAverageBatchNorm2d(device, channels, options) };
  }

  /** How it averages, in a spec. @internal */
  static averageOptions(spec: SpecReader) {
    const isWhole = (least: number) => (value: unknown) => Number.isInteger(value) && (value as number) >= least;
    return {
      momentum: spec.number('momentum', 0, 1, 0.02),
      window: spec.value<number>('window', isWhole(2), 'a whole number of at least 2', 16),
      warmUp: spec.value<number>('warmUp', isWhole(0), 'a whole number of at least 0', 100),
    };
  }

  protected override ownOptions(): Readonly<Record<string, SpecValue>> {
    const { window, warmUp } = this;
    return { ...super.ownOptions(), window, warmUp };
  }

  override dispose(): void {
    for (const constant of Object.values(this.#averages ?? {})) constant.dispose();
    super.dispose();
  }

  /** @throws KalmanNormError `SHAPE_MISMATCH` for other samples than [N, C, H, W]; `INVALID_STATE` for a recorded first step */
  override forward(x: Tensor): Tensor {
    this.checkImages(x);
    const { epsilon, relu, splits } = this;
    if (!this.training) return normalize(x, this.running, this.affine, { epsilon, relu });
    this.prepare(x.device);
    using own = meanSquares(x, splits);
    using variance = this.averaged(own, x.size / own.size);
    using mean = x.device.zeros([variance.size]);
    return normalizeBy(x, { mean, variance }, this.affine, { splits, epsilon, relu });
  }

  private prepare(device: Device): void {
    if (this.#averages) return;
    check(
      !device.recording,
      'INVALID_STATE',
      'MovingAverageBatchNorm2d: run a step before one is recorded, as the first uploads constants',
    );
    this.#averages = noScope(() => averagesOf(device, this.splits, this.window, this.momentum));
  }

  /**
   * What each micro-batch is divided by the root of, with its r, and with the moving average of the gradient.
   *
   * @param own mean squares, [S·C]
   * @param count of values in each of them
   */
  private averaged(own: Tensor, count: number): Tensor {
    return differentiable({
      name: 'movingAverage',
      inputs: { own },
      forward: ({ own }) => this.observe(own),
      outputs: ['effective'],
      internal: ['square', 'warm'],
      save: (_, results) => results,
      backward: ({ saved, grads }) => ({ own: this.gradient(saved, grads.effective, count) }),
    }).effective;
  }

  /**
   * Moves averages of squares, micro-batch by micro-batch.
   *
   * @returns `square` v, [S, C]; `effective`, [S·C], which with epsilon is (v + epsilon) / r²; `warm`, [S, 1], 1 behind the warm-up
   */
  private observe(own: Handle): { effective: Handle; square: Handle; warm: Handle } {
    const { device } = this.runningVariance;
    const { channels, splits, epsilon, window, warmUp } = this;
    const { running, decay, place, ...averages } = this.#averages as Averages;
    return handlesOf(() => {
      const squares = reshape(new Tensor(device, own.share()), [splits, channels], 'plain');
      const history = concat([this.squares, squares], 0);
      const now = add(this.microBatches, place);
      const warm = greater(now, Math.max(window, warmUp - 1));
      const square = where(warm, matmul(averages.window, history), squares);
      const before = reshape(this.runningVariance, [1, channels], 'plain');
      const moved = add(matmul(running, square), mul(decay, before));
      const ratio = div(add(square, epsilon), add(samples(moved, 0, splits), epsilon));
      const renormed = greater(now, Math.max(RENORM_AFTER, warmUp));
      const squaredRatio = where(renormed, clamp(ratio, RATIO ** -2, RATIO ** 2), 1);
      const effective = reshape(sub(div(add(square, epsilon), squaredRatio), epsilon), [splits * channels]);
      write(this.squares, samples(history, splits, window - 1));
      write(this.runningVariance, reshape(samples(moved, splits, 1), [channels]));
      addInto(this.microBatches, device.full([1], splits));
      return { effective, square, warm };
    });
  }

  /** The gradient of own mean squares: that of averages, each of which has an average itself. */
  private gradient(
    saved: { effective: Handle; square: Handle; warm: Handle },
    gradient: Handle,
    count: number,
  ): Handle {
    const { device } = this.runningVariance;
    const { channels, splits, epsilon, window } = this;
    return handlesOf(() => {
      const matrix = (handle: Handle) => reshape(new Tensor(device, handle.share()), [splits, channels], 'plain');
      const [warm, square] = [saved.warm, saved.square].map((handle) => new Tensor(device, handle.share()));
      // The mean of gradient times output.
      const own = scale(mul(matrix(gradient), add(matrix(saved.effective), epsilon)), -2 / count);
      const history = concat([this.gradients, own], 0);
      const product = where(warm as Tensor, matmul((this.#averages as Averages).window, history), own);
      write(this.gradients, samples(history, splits, window - 1));
      const dsquare = scale(div(product, add(square as Tensor, epsilon)), -count / 2);
      return { dsquare: reshape(dsquare, [splits * channels]) };
    }).dsquare;
  }
}

/** What `body` makes without gradients, as handles; everything else that it makes is freed. */
function handlesOf<Name extends string>(body: () => Record<Name, Tensor>): Record<Name, Handle> {
  const made = noGrad(() => scope(body));
  const handles = Object.entries<Tensor>(made).map(([name, tensor]) => [name, tensor.handle.share()]);
  for (const tensor of Object.values<Tensor>(made)) tensor.dispose();
  return Object.fromEntries(handles);
}

/** Overwrites state, but where the value isn't finite. */
function write(state: Tensor, value: Tensor): void {
  state.copyFrom(where(greater(Number.MAX_VALUE, abs(value)), value, state));
}

function averagesOf(device: Device, splits: number, window: number, momentum: number): Averages {
  const matrix = (rows: number, columns: number, value: (row: number, column: number) => number) => {
    const values = Float32Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
    return device.tensor(values, [rows, columns]);
  };
  const kept = 1 - momentum;
  return {
    window: matrix(splits, window - 1 + splits, (row, i) => (i >= row && i < row + window ? 1 / window : 0)),
    running: matrix(splits + 1, splits, (row, i) => (i < row ? momentum * kept ** (row - 1 - i) : 0)),
    decay: matrix(splits + 1, 1, (row) => kept ** row),
    place: matrix(splits, 1, (row) => row + 1),
  };
}

registerModule(MovingAverageBatchNorm2d);
