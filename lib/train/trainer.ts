import { backward, noGrad } from '../autograd.js';
import { type Dataset, perPixelMean } from '../data/dataset.js';
import { DeviceRandom } from '../device-random.js';
import { check } from '../errors.js';
import type { Module } from '../nn/module.js';
import { advance, append } from '../ops/counter.js';
import { crossEntropy } from '../ops/loss.js';
import { LossScaler } from '../optim/loss-scaler.js';
import type { Sgd } from '../optim/sgd.js';
import type { Program } from '../program.js';
import { HostRandom } from '../random.js';
import { noScope, scope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import { DeviceImages } from './device-images.js';

/** A network that classifies images. */
export interface Classifier extends Module {
  /**
   * @param images [N, C, H, W]
   * @param noise what random layers draw from; null in inference
   */
  forward(images: Tensor, noise: DeviceRandom | null): Tensor;
}

/** Options of {@link Trainer}. */
export interface TrainerOptions {
  device: Device;
  model: Classifier;
  optimizer: Sgd;
  dataset: Dataset;
  /** Default 128. The rest of an epoch that doesn't fill a batch is left out. */
  batchSize?: number;
  /** Of the order of samples, crops, flips and noise; default 0. */
  seed?: number;
  /** Factor on images after the mean is subtracted; default 1/128. */
  scale?: number;
  /** Random crops and flips; default true. */
  augment?: boolean;
  /** Enqueue every operation of every step from JavaScript, instead of replaying a recorded step; default false. */
  eager?: boolean;
}

/** Figures of (a part of) an epoch of training or an evaluation. */
export interface Figures {
  /** Batches made. */
  steps: number;
  /** Mean of the batches' losses. */
  loss: number;
  /** Share of wrongly classified samples. */
  error: number;
  seconds: number;
  imagesPerSecond: number;
}

/** Options of a pass over the data. */
export interface PassOptions {
  /** Called some times a second with the figures up to now, and the number of steps of the whole pass. */
  onProgress?: (figures: Figures, totalSteps: number) => void;
  /** Ends the pass early; the figures are those up to then. */
  signal?: AbortSignal;
}

/** Seconds between two looks at the figures of an epoch; also how long a stop may have to wait. */
const LOOK_INTERVAL = 0.25;

/**
 * Trains a classifier on a data set that lies on the device: batches, crops and flips are made there, the step is
 * recorded once and replayed, and JavaScript only looks at the losses from time to time.
 *
 * @example
 * const trainer = new Trainer({ device, model, optimizer, dataset });
 * for (let epoch = 1; epoch <= 10; epoch++) {
 *   await trainer.trainEpoch(epoch);
 *   console.log((await trainer.evaluate()).error);
 * }
 */
export class Trainer {
  /** Steps of an epoch. */
  readonly stepsPerEpoch: number;
  private readonly batchSize: number;
  private readonly random: DeviceRandom;
  private readonly train: DeviceImages;
  private readonly test: DeviceImages;
  /** Loss and errors of each batch of a pass, and the number of the next one. */
  private readonly history: { loss: Tensor; errors: Tensor; cursor: Tensor };
  /** Gradients of float16 activations would underflow. */
  private readonly scaler: LossScaler | null;
  private program: Program | null = null;

  constructor(private readonly options: TrainerOptions) {
    const { device, dataset, batchSize = 128, seed = 0, scale = 1 / 128 } = options;
    check(
      Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= dataset.train.count,
      'INVALID_ARGUMENT',
      `Trainer: batchSize must be between 1 and the ${dataset.train.count} training images, got ${batchSize}`,
    );
    check(dataset.test.count > 0, 'INVALID_ARGUMENT', 'Trainer: the data set has no test images');
    this.batchSize = batchSize;
    this.stepsPerEpoch = Math.floor(dataset.train.count / batchSize);
    this.random = new DeviceRandom(device, seed);
    this.scaler = device.precision === 'fp16' ? new LossScaler(device) : null;
    const mean = perPixelMean(dataset);
    this.train = new DeviceImages(device, dataset, dataset.train, mean, scale);
    this.test = new DeviceImages(device, dataset, dataset.test, mean, scale);
    const slots = Math.max(this.stepsPerEpoch, Math.ceil(dataset.test.count / batchSize));
    this.history = noScope(() => ({
      loss: device.zeros([slots]),
      errors: device.zeros([slots]),
      cursor: device.zeros([1], { dtype: 'int32' }),
    }));
  }

  /**
   * One pass over the training images, in an order that depends on seed and epoch alone.
   *
   * @param epoch counted from 1
   * @throws KalmanNormError `DIVERGED` when a loss is NaN or infinite, naming epoch and step
   */
  async trainEpoch(epoch: number, { onProgress, signal }: PassOptions = {}): Promise<Figures> {
    const { dataset, model, seed = 0 } = this.options;
    this.train.setOrder(new HostRandom(seed, epoch).permutation(dataset.train.count));
    this.history.cursor.fill(0);
    model.train();
    const begin = performance.now();
    let figures: Figures = { steps: 0, loss: Number.NaN, error: Number.NaN, seconds: 0, imagesPerSecond: 0 };
    let chunk = 1;
    while (figures.steps < this.stepsPerEpoch && !signal?.aborted) {
      const count = Math.min(chunk, this.stepsPerEpoch - figures.steps);
      this.enqueue(count);
      const steps = figures.steps + count;
      const batches = await this.look(steps);
      const bad = batches.findIndex(({ loss }) => !Number.isFinite(loss));
      check(
        bad < 0,
        'DIVERGED',
        () => `the loss became ${batches[bad]?.loss} in epoch ${epoch}, step ${bad + 1} of ${this.stepsPerEpoch}`,
      );
      figures = summarize(batches, steps * this.batchSize, begin);
      onProgress?.(figures, this.stepsPerEpoch);
      chunk = Math.max(1, Math.round((LOOK_INTERVAL * steps) / figures.seconds));
    }
    return figures;
  }

  /** Classifies all test images. The loss is the unweighted mean over batches, as in the reference. */
  async evaluate({ signal }: PassOptions = {}): Promise<Figures> {
    const { dataset, model } = this.options;
    const { count } = dataset.test;
    const begin = performance.now();
    let done = 0;
    this.history.cursor.fill(0);
    model.eval();
    try {
      while (done < count && !signal?.aborted) {
        const size = Math.min(this.batchSize, count - done);
        scope(() =>
          noGrad(() => {
            const { images, labels } = this.test.range(done, size);
            this.note(crossEntropy(model.forward(images, null), labels));
          }),
        );
        done += size;
      }
    } finally {
      model.train();
    }
    return summarize(await this.look(Math.ceil(done / this.batchSize)), done, begin);
  }

  /** Frees what the trainer holds on the device; model and optimiser are not its own. */
  dispose(): void {
    this.program?.dispose();
    this.random.dispose();
    this.scaler?.dispose();
    this.train.dispose();
    this.test.dispose();
    for (const tensor of Object.values(this.history)) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Enqueues training steps. */
  private enqueue(count: number): void {
    if (this.options.eager) {
      for (let i = 0; i < count; i++) this.step();
    } else {
      this.program ??= this.options.device.record(() => this.step()).program;
      this.program.run(count);
    }
  }

  private step(): void {
    const { model, optimizer, augment = true } = this.options;
    scope(() => {
      const { images, labels } = this.train.batch(this.batchSize, this.history.cursor, augment ? this.random : null);
      const result = crossEntropy(model.forward(images, this.random), labels);
      model.zeroGrad();
      backward(result.loss, this.scaler?.factor);
      optimizer.step(this.scaler);
      this.note(result);
    });
    this.random.advance();
  }

  /** Writes a batch's figures into the history. */
  private note({ loss, errors }: { loss: Tensor; errors: Tensor }): void {
    append(loss, this.history.cursor, this.history.loss);
    append(errors, this.history.cursor, this.history.errors);
    advance(this.history.cursor);
  }

  /** The figures of the first batches of the pass, when they are done. */
  private async look(batches: number): Promise<{ loss: number; errors: number }[]> {
    const [losses, errors] = await Promise.all([this.history.loss.data(), this.history.errors.data()]);
    return Array.from({ length: batches }, (_, i) => ({ loss: losses[i] as number, errors: errors[i] as number }));
  }
}

function summarize(batches: { loss: number; errors: number }[], images: number, begin: number): Figures {
  const sum = (key: 'loss' | 'errors') => batches.reduce((total, batch) => total + batch[key], 0);
  const seconds = (performance.now() - begin) / 1000;
  return {
    steps: batches.length,
    loss: sum('loss') / batches.length,
    error: sum('errors') / images,
    seconds,
    imagesPerSecond: images / seconds,
  };
}
