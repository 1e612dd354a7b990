import { meanImage, type SplitSource } from '../data/source.js';
import { check, KalmanNormError } from '../errors.js';
import type { ModelDescription } from '../io/model-description.js';
import { checkOptions, type OptionNames } from '../options.js';
import { HostRandom } from '../random.js';
import { readState, type StateValues, writeState } from '../state.js';
import type { Tensor } from '../tensor.js';
import { DataParallel } from './data-parallel.js';
import { DeviceImages } from './device-images.js';
import { firstNotFinite } from './divergence.js';
import { Evaluation } from './evaluation.js';
import { type BatchFigures, History } from './history.js';
import { checkTrainerOptions, type TrainerOptions } from './trainer-options.js';
import { TrainingStep } from './training-step.js';

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

const passNames: OptionNames<PassOptions> = { onProgress: true, signal: true };

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
  /** Batches of an evaluation, the last of which may not be full. */
  readonly stepsPerEvaluation: number;
  private readonly batchSize: number;
  private readonly scale: number;
  private readonly sources: SplitSource;
  private readonly train: DeviceImages;
  private readonly evaluation: Evaluation;
  private readonly history: History;
  private readonly step: TrainingStep;
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
    this.sources = checkTrainerOptions(options);
    const { device, batchSize = 128, scale = 1 / 128, imageMemory = 2 ** 31 } = options;
    const { group, model, optimizer } = options;
    this.batchSize = batchSize;
    this.scale = scale;
    this.stepsPerEpoch = Math.floor(this.sources.train.labels.length / batchSize);
    this.stepsPerEvaluation = Math.ceil(this.sources.test.labels.length / batchSize);
    this.parallel = group ? new DataParallel(group, device, model, optimizer) : null;
    const images = { batchSize, scale, memory: imageMemory };
    this.train = new DeviceImages(device, this.sources.train, { ...images, part: group });
    this.history = new History(device, Math.max(this.stepsPerEpoch, this.stepsPerEvaluation));
    this.evaluation = new Evaluation(device, this.sources.test, images, this.history, this.parallel);
    this.step = new TrainingStep(options, this.train, this.history, this.parallel);
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
    checkOptions('trainEpoch', options, passNames);
    return this.exclusively('trainEpoch', () => this.runEpoch(epoch, options));
  }

  private async runEpoch(epoch: number, { onProgress, signal }: PassOptions): Promise<Figures> {
    const { model, seed = 0 } = this.options;
    await this.prepare();
    this.train.setOrder(new HostRandom(seed, epoch).permutation(this.sources.train.labels.length), epoch);
    this.history.clear();
    if (!model.training) model.train();
    await this.parallel?.agree({ ...this.settings(), epoch });
    const begin = performance.now();
    let figures: Figures = { steps: 0, loss: Number.NaN, error: Number.NaN, seconds: 0, imagesPerSecond: 0 };
    let chunk = 1;
    let [made, stop] = [0, false];
    // Processes that train together stop together.
    while (figures.steps < this.stepsPerEpoch && !(this.parallel ? stop : signal?.aborted)) {
      const present = await this.train.provide(figures.steps);
      const count = Math.min(chunk, present, this.stepsPerEpoch - figures.steps);
      const before = (epoch - 1) * this.stepsPerEpoch + figures.steps;
      ({ made, stop } = await this.step.run(count, before, signal));
      const steps = figures.steps + made;
      const batches = await this.history.look(steps);
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
   * the unweighted mean over batches, as in the reference. With a group all processes must call it: each classifies its
   * part of every batch, by the running averages and filters of rank 0, and gets the figures of all; a signal in one of
   * them ends it in all.
   *
   * @throws KalmanNormError `INVALID_STATE` where another pass of this trainer isn't done; `GROUP_FAILED` where a process
   *   ended or hung
   */
  evaluate(options: PassOptions = {}): Promise<Figures> {
    checkOptions('evaluate', options, passNames);
    const { average } = this.options;
    const classify = () => this.classify(options.signal);
    return this.exclusively('evaluate', () => (average && !average.applied ? average.during(classify) : classify()));
  }

  private async classify(signal: AbortSignal | undefined): Promise<Figures> {
    await this.prepare();
    const begin = performance.now();
    const { batches, images } = await this.evaluation.run(this.options.model, signal);
    return summarize(batches, images, begin);
  }

  /** What training goes on from beside model and optimizer, by name: the random stream's step, and the loss scale. */
  stateDict(): Map<string, Tensor> {
    return this.step.stateDict();
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
    this.step.dispose();
    this.parallel?.dispose();
    this.train.dispose();
    this.evaluation.dispose();
    this.history.dispose();
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
    await this.evaluation.load(image);
  }

  /** What has to be the same in all processes; the mean stands for the images. */
  private settings(): object {
    const { augment = true, smoothing = 0, seed = 0, clipNorm, adaptiveClip, syncStatistics = false } = this.options;
    const { optimizer, accumulate = 1 } = this.options;
    const { batchSize, scale, mean } = this;
    const labels = [...this.sources.train.labels];
    const { learningRate, weightDecay } = optimizer;
    const clipping = adaptiveClip?.clipping;
    const training = { batchSize, accumulate, scale, augment, smoothing, seed, clipNorm, clipping, syncStatistics };
    return { ...training, optimizer: optimizer.constructor.name, learningRate, weightDecay, mean: [...mean], labels };
  }
}

function summarize(batches: readonly BatchFigures[], images: number, begin: number): Figures {
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
