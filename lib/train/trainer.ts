import { checkObjects } from '../arguments.js';
import { backward, noGrad } from '../autograd.js';
import { meanImage, type SplitSource } from '../data/source.js';
import { DeviceRandom } from '../device-random.js';
import { check, KalmanNormError } from '../errors.js';
import type { ModelDescription } from '../io/model-description.js';
import { advance, append } from '../ops/counter.js';
import { addInto, scale } from '../ops/elementwise.js';
import { crossEntropy, type Loss } from '../ops/loss.js';
import { samples } from '../ops/memory.js';
import { clipGradAdaptive, clipGradNorm } from '../optim/clip.js';
import { LossScaler } from '../optim/loss-scaler.js';
import type { Program } from '../program.js';
import { HostRandom } from '../random.js';
import { noScope, scope } from '../scope.js';
import { readState, type StateValues, writeState } from '../state.js';
import type { Tensor } from '../tensor.js';
import { DataParallel } from './data-parallel.js';
import { DeviceImages } from './device-images.js';
import { firstNotFinite } from './divergence.js';
import { checkTrainerOptions, type TrainerOptions } from './trainer-options.js';

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
  private readonly accumulate: number;
  private readonly scale: number;
  private readonly sources: SplitSource;
  private readonly random: DeviceRandom;
  private readonly train: DeviceImages;
  private readonly test: DeviceImages;
  /** Loss and errors of each batch of a pass, and the number of the next one. */
  private readonly history: { loss: Tensor; errors: Tensor; cursor: Tensor };
  /** Gradients of float16 activations would underflow. */
  private readonly scaler: LossScaler | null;
  /** The recorded step, and the modes of the modules that it was recorded with. */
  private recorded: { programs: Program[]; modes: string } | null = null;
  /** Where processes train together. */
  private readonly parallel: DataParallel | null;
  private prepared: Promise<void> | null = null;
  private mean: Float32Array | readonly number[] = [];
  private pass: string | null = null;

  /**
   * @throws KalmanNormError `INVALID_ARGUMENT` for options outside their domain, a label that is no class among them;
   *   `SHAPE_MISMATCH` where parts of the data set don't fit each other
   */
  constructor(private readonly options: TrainerOptions) {
    checkObjects('Trainer', { options });
    const { device, batchSize = 128, accumulate = 1, seed = 0, scale = 1 / 128, imageMemory = 2 ** 31 } = options;
    const { group, model, optimizer } = options;
    this.sources = checkTrainerOptions(options);
    const [trainCount, testCount] = [this.sources.train.labels.length, this.sources.test.labels.length];
    this.batchSize = batchSize;
    this.accumulate = accumulate;
    this.scale = scale;
    this.stepsPerEpoch = Math.floor(trainCount / batchSize);
    this.random = new DeviceRandom(device, seed);
    this.parallel = group ? new DataParallel(group, device, model, optimizer) : null;
    this.scaler = device.precision === 'fp16' ? new LossScaler(device) : null;
    const images = { batchSize, scale, memory: imageMemory };
    this.train = new DeviceImages(device, this.sources.train, images);
    this.test = new DeviceImages(device, this.sources.test, images);
    const slots = Math.max(this.stepsPerEpoch, Math.ceil(testCount / batchSize));
    this.history = noScope(() => ({
      loss: device.zeros([slots]),
      errors: device.zeros([slots]),
      cursor: device.zeros([1], { dtype: 'int32' }),
    }));
  }

  /** Reads and uploads the images, and their mean; else the first pass does. */
  prepare(): Promise<void> {
    this.prepared ??= this.load().catch((error: KalmanNormError) => {
      // Another try may find the files in place.
      this.prepared = null;
      throw error;
    });
    return this.prepared;
  }

  /** What {@link saveModel} needs to know beside the weights: class names, size and normalization of the images. */
  async describe(): Promise<ModelDescription> {
    await this.prepare();
    const { classNames, channels, height, width } = this.sources.train;
    const normalization = { mean: this.mean, scale: this.scale };
    return { classNames, input: { channels, height, width }, normalization };
  }

  /**
   * One pass over the training images, in an order that depends on seed and epoch alone. A model in inference mode is
   * put in training mode; in one that trains, modules in inference mode, such as frozen normalizations, stay there.
   *
   * @param epoch counted from 1
   * @throws KalmanNormError `DIVERGED` when a loss is NaN or infinite, naming epoch, step and the
   *   Kalman normalization where it began; `INVALID_STATE` where
   *   another pass of this trainer isn't done; `GROUP_FAILED` where processes don't fit each other, or one ended or hung
   */
  trainEpoch(epoch: number, options: PassOptions = {}): Promise<Figures> {
    check(
      Number.isSafeInteger(epoch) && epoch >= 0,
      'INVALID_ARGUMENT',
      `trainEpoch: epoch must be a whole number, got ${epoch}`,
    );
    return this.exclusively('trainEpoch', () => this.runEpoch(epoch, options));
  }

  private async runEpoch(epoch: number, { onProgress, signal }: PassOptions): Promise<Figures> {
    const { model, seed = 0 } = this.options;
    await this.prepare();
    this.train.setOrder(new HostRandom(seed, epoch).permutation(this.sources.train.labels.length), epoch);
    this.history.cursor.fill(0);
    if (!model.training) model.train();
    await this.parallel?.agree({ ...this.settings(), epoch });
    const begin = performance.now();
    let figures: Figures = { steps: 0, loss: Number.NaN, error: Number.NaN, seconds: 0, imagesPerSecond: 0 };
    let chunk = 1;
    let stop = false;
    // Processes that train together stop together.
    while (figures.steps < this.stepsPerEpoch && !(this.parallel ? stop : signal?.aborted)) {
      const present = await this.train.provide(figures.steps);
      const count = Math.min(chunk, present, this.stepsPerEpoch - figures.steps);
      const before = (epoch - 1) * this.stepsPerEpoch + figures.steps;
      let made = count;
      if (this.parallel) ({ made, stop } = await this.stepTogether(this.parallel, count, before, signal));
      else this.enqueue(count, before);
      const steps = figures.steps + made;
      const batches = await this.look(steps);
      const bad = batches.findIndex(({ loss }) => !Number.isFinite(loss));
      if (bad >= 0) {
        const first = await firstNotFinite(this.options.model);
        throw new KalmanNormError(
          'DIVERGED',
          `the loss became ${batches[bad]?.loss} in epoch ${epoch}, step ${bad + 1} of ${this.stepsPerEpoch}` +
            (first ? `; statistics were first not finite in ${first}` : ''),
        );
      }
      figures = summarize(batches, steps * this.batchSize, begin);
      onProgress?.(figures, this.stepsPerEpoch);
      chunk = Math.max(1, Math.round((LOOK_INTERVAL * steps) / figures.seconds));
    }
    if (this.options.syncStatistics) await this.parallel?.averageStatistics();
    return figures;
  }

  /**
   * Classifies all test images, in inference mode; afterwards each module is in the mode that it was in. The loss is
   * the unweighted mean over batches, as in the reference.
   *
   * @throws KalmanNormError `INVALID_STATE` where another pass of this trainer isn't done
   */
  evaluate(options: PassOptions = {}): Promise<Figures> {
    const { average } = this.options;
    const classify = () => this.classify(options);
    return this.exclusively('evaluate', () => (average && !average.applied ? average.during(classify) : classify()));
  }

  private async classify({ signal }: PassOptions): Promise<Figures> {
    const { model } = this.options;
    await this.prepare();
    const count = this.sources.test.labels.length;
    const begin = performance.now();
    let done = 0;
    this.history.cursor.fill(0);
    const modes = new Map(model.modules().map((module) => [module, module.training]));
    model.eval();
    try {
      while (done < count && !signal?.aborted) {
        await this.test.provide(done / this.batchSize);
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
      for (const [module, training] of modes) module.training = training;
    }
    return summarize(await this.look(Math.ceil(done / this.batchSize)), done, begin);
  }

  /** What training goes on from beside model and optimizer, by name: the random stream's step, and the loss scale. */
  stateDict(): Map<string, Tensor> {
    const named = (part: string, state: Map<string, Tensor>) =>
      [...state].map(([name, tensor]) => [`${part}.${name}`, tensor] as const);
    const scaler = this.scaler ? named('scaler', this.scaler.stateDict()) : [];
    return new Map([...named('random', this.random.stateDict()), ...scaler]);
  }

  /** The values of {@link Trainer.stateDict}, read from the device. */
  stateValues(): Promise<StateValues> {
    return readState(this.stateDict());
  }

  /**
   * Goes on from a state. Everything is checked first.
   *
   * @throws KalmanNormError `STATE_MISMATCH` for missing, extra, misshapen or mistyped entries; nothing is loaded then
   */
  loadStateDict(state: StateValues): void {
    writeState(this.stateDict(), state, 'trainer');
  }

  /** Frees what the trainer holds on the device; model and optimiser are not its own. */
  dispose(): void {
    for (const program of this.recorded?.programs ?? []) program.dispose();
    this.parallel?.dispose();
    this.random.dispose();
    this.scaler?.dispose();
    this.train.dispose();
    this.test.dispose();
    for (const tensor of Object.values(this.history)) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** One pass at a time: two would mix their batches and figures. */
  private async exclusively<T>(name: string, body: () => Promise<T>): Promise<T> {
    check(
      this.pass === null,
      'INVALID_STATE',
      () => `${name}: ${this.pass} of this trainer is still running; await it first`,
    );
    this.pass = name;
    try {
      return await body();
    } finally {
      this.pass = null;
    }
  }

  private async load(): Promise<void> {
    const { train, test } = this.sources;
    const { channels, height, width } = train;
    const { mean = 'image' } = this.options;
    const pixels = height * width;
    if (typeof mean !== 'string') this.mean = mean;
    else {
      const image = await meanImage(train, test);
      const plane = (c: number) => image.subarray(c * pixels, (c + 1) * pixels).reduce((a, b) => a + b, 0) / pixels;
      this.mean = mean === 'image' ? image : Array.from({ length: channels }, (_, c) => plane(c));
    }
    const whole = this.mean.length > channels || pixels === 1;
    const image = whole
      ? Float32Array.from(this.mean)
      : Float32Array.from({ length: channels * pixels }, (_, i) => this.mean[Math.floor(i / pixels)] as number);
    await this.train.load(image);
    await this.test.load(image);
  }

  /** Enqueues training steps, after so many of all epochs. */
  private enqueue(count: number, before: number): void {
    const { schedule, optimizer } = this.options;
    if (!schedule) {
      this.repeat(count);
      return;
    }
    for (let step = before + 1; step <= before + count; step++) {
      optimizer.learningRate = schedule(step);
      this.repeat(1);
    }
  }

  private repeat(count: number): void {
    const { eager } = this.options;
    const direct = eager ? count : this.programs() ? 0 : 1;
    for (let i = 0; i < direct; i++) this.step();
    if (!eager && direct > 0) this.record([() => this.step()]);
    if (count > direct) this.programs()?.[0]?.run(count - direct);
  }

  /**
   * Steps of all processes. Between its two halves a step waits for the others.
   *
   * @returns how many were made, fewer where a process wants to end or the loss isn't finite: the same in all
   */
  private async stepTogether(
    parallel: DataParallel,
    count: number,
    before: number,
    signal: AbortSignal | undefined,
  ): Promise<{ made: number; stop: boolean }> {
    const { schedule, optimizer, eager } = this.options;
    const halves = [
      () => {
        scope(() => parallel.note(this.gradients()));
        this.random.advance();
      },
      () => scope(() => this.update(parallel.figures)),
    ] as const;
    for (let made = 1; ; made++) {
      if (schedule) optimizer.learningRate = schedule(before + made);
      const programs = eager ? null : this.programs();
      if (programs) programs[0]?.run();
      else halves[0]();
      const { loss, stop } = await parallel.exchange(signal?.aborted ?? false);
      if (programs) programs[1]?.run();
      else halves[1]();
      if (!eager && !programs) this.record(halves);
      if (made === count || stop || !Number.isFinite(loss)) return { made, stop };
    }
  }

  /** The recorded step, or its halves; null where there is none for the modes that the modules are in. */
  private programs(): Program[] | null {
    return this.recorded?.modes === this.modes() ? this.recorded.programs : null;
  }

  /**
   * Records a step, which has been made before: what a GPU does at an operation's first use, such as timing a convolution's
   * algorithms, it may not do while it records.
   */
  private record(parts: readonly (() => void)[]): void {
    for (const program of this.recorded?.programs ?? []) program.dispose();
    this.recorded = null;
    const programs = parts.map((part) => this.options.device.record(part).program);
    this.recorded = { programs, modes: this.modes() };
  }

  private modes(): string {
    const modules = this.options.model.modules();
    return modules.map(({ training }) => (training ? 't' : 'e')).join('');
  }

  private step(): void {
    scope(() => this.update(this.gradients()));
    this.random.advance();
  }

  /** Gradients of this process's part of the next batch, and its figures. */
  private gradients(): Loss {
    const { model, group: { rank, size } = { rank: 0, size: 1 }, augment = true, smoothing = 0 } = this.options;
    const changes = augment === false ? null : { ...(augment === true ? {} : augment), random: this.random };
    const whole = this.train.batch(this.batchSize, this.history.cursor, changes);
    const part = this.batchSize / size;
    const own = (all: Tensor) => (size === 1 ? all : samples(all, rank * part, part));
    const [images, labels] = [own(whole.images), own(whole.labels)];
    model.zeroGrad();
    if (this.accumulate > 1) return this.inParts(images, labels);
    const result = crossEntropy(model.forward(images, this.random), labels, { smoothing });
    backward(result.loss, this.scaler?.factor);
    return result;
  }

  /** Moves the weights by the gradients, and notes the batch's figures. */
  private update(figures: Loss): void {
    const { optimizer, average, clipNorm, adaptiveClip } = this.options;
    this.note(figures);
    if (adaptiveClip) {
      const { clipping, parameters = optimizer.parameters() } = adaptiveClip;
      clipGradAdaptive(parameters, clipping, this.scaler);
    }
    if (clipNorm !== undefined) clipGradNorm(optimizer.parameters(), clipNorm, this.scaler);
    optimizer.step(this.scaler);
    average?.update();
  }

  /** What has to be the same in all processes; the mean stands for the images. */
  private settings(): object {
    const { augment = true, seed = 0, clipNorm, syncStatistics = false, optimizer } = this.options;
    const { batchSize, accumulate, scale, mean } = this;
    const labels = [...this.sources.train.labels];
    const { learningRate, weightDecay } = optimizer;
    const training = { batchSize, accumulate, scale, augment, seed, clipNorm, syncStatistics };
    return { ...training, optimizer: optimizer.constructor.name, learningRate, weightDecay, mean: [...mean], labels };
  }

  /** Forward and backward, part by part; the mean of the losses, and all errors. */
  private inParts(images: Tensor, labels: Tensor): Loss {
    const { model, device, smoothing = 0 } = this.options;
    const size = labels.size / this.accumulate;
    const share = 1 / this.accumulate;
    const seed = this.scaler ? scale(this.scaler.factor, share) : device.full([1], share);
    const total: Loss = { loss: device.zeros([1]), errors: device.zeros([1]) };
    for (let part = 0; part < this.accumulate; part++) {
      scope(() => {
        const [own, classes] = [images, labels].map((all) => samples(all, part * size, size)) as [Tensor, Tensor];
        const { loss, errors } = crossEntropy(model.forward(own, this.random), classes, { smoothing });
        backward(loss, seed);
        noGrad(() => addInto(total.loss, scale(loss, share)));
        addInto(total.errors, errors);
      });
    }
    return total;
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
