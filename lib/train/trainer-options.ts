import type { Dataset } from '../data/dataset.js';
import { type SplitSource, sourcesOf } from '../data/source.js';
import type { DeviceRandom } from '../device-random.js';
import type { ProcessGroup } from '../distributed/group.js';
import { check } from '../errors.js';
import { Module } from '../nn/module.js';
import type { Augmentation } from '../ops/gather.js';
import { Optimizer } from '../optim/optimizer.js';
import type { ParameterList } from '../optim/parameter-list.js';
import type { Schedule } from '../optim/schedule.js';
import { WeightAverage } from '../optim/weight-average.js';
import { checkOptions, type OptionNames } from '../options.js';
import type { Device, Tensor } from '../tensor.js';

/** A network that classifies images. */
export interface Classifier extends Module {
  /**
   * @param images [N, C, H, W]
   * @param noise what random layers draw from; null in inference
   */
  forward(images: Tensor, noise: DeviceRandom | null): Tensor;
}

/** How {@link Trainer} clips gradients adaptively. */
export interface AdaptiveClip {
  /** Largest ratio of norms, positive; default 0.01. */
  clipping?: number;
  /** Whose gradients; default: all that the optimizer trains. The paper leaves the last layer's out. */
  parameters?: ParameterList;
}

/** Options of {@link Trainer}. */
export interface TrainerOptions {
  device: Device;
  model: Classifier;
  optimizer: Optimizer;
  /**
   * Learning rate by the step, counted from 1 over all epochs; default: whatever the optimizer has. Steps are then enqueued
   * one by one.
   */
  schedule?: Schedule;
  /** ε of label smoothing in training, from 0 to 1; see {@link crossEntropy}. Default 0. */
  smoothing?: number;
  /** Clips gradients to this global norm; see {@link clipGradNorm}. Default: not at all. */
  clipNorm?: number;
  /** Clips gradients to their weights; see {@link clipGradAdaptive}. Default: not at all. */
  adaptiveClip?: AdaptiveClip;
  /** Is updated after each step, and evaluated with; not the trainer's own. */
  average?: WeightAverage;
  /** Training and test images, in memory or behind {@link BatchSource}s. */
  dataset: Dataset | SplitSource;
  /** Default 128. The rest of an epoch that doesn't fill a batch is left out. */
  batchSize?: number;
  /**
   * In how many equal parts a batch goes through the network, one after the other, before the optimizer makes its step:
   * memory holds the activations of one part. Normalizations see a part as their batch, so that they need no splits; what
   * moves between steps, such as running averages, moves with every part. Default 1.
   */
  accumulate?: number;
  /**
   * Processes that train together, each with its part of every batch: `batchSize` is that of all of them, and normalizations
   * see the part. Gradients are averaged before they are clipped; figures of training are those of the whole batch. All
   * processes must have the same options and weights, which each epoch checks; order, crops and flips are then those of one
   * process alone, while random layers draw the same in each. Not the trainer's own; default: none.
   */
  group?: ProcessGroup;
  /**
   * With a group: running averages and the filter's state become their means over the processes at the end of each epoch;
   * default false: they stay each process's own.
   */
  syncStatistics?: boolean;
  /** Of the order of samples, crops, flips and noise; default 0. */
  seed?: number;
  /**
   * What is subtracted from images: the mean `image` of training and test images, as in the reference (default), their
   * mean per `channel`, which fits images of other sizes too, or values: an image [C, H, W] or one value a channel.
   */
  mean?: 'image' | 'channel' | Float32Array | readonly number[];
  /** Factor on images after the mean is subtracted; default 1/128. */
  scale?: number;
  /**
   * Bytes of training images, and of test images, that may lie on the device; default 2 GiB. Larger sets are read in
   * pieces during each pass, the next while the device works.
   */
  imageMemory?: number;
  /** Random crops and flips, and a cutout where its size is given; default true: crops and flips. */
  augment?: boolean | Augmentation;
  /** Enqueue every operation of every step from JavaScript, instead of replaying a recorded step; default false. */
  eager?: boolean;
}

const optionNames: OptionNames<TrainerOptions> = {
  device: true,
  model: true,
  optimizer: true,
  schedule: true,
  smoothing: true,
  clipNorm: true,
  adaptiveClip: true,
  average: true,
  dataset: true,
  batchSize: true,
  accumulate: true,
  group: true,
  syncStatistics: true,
  seed: true,
  mean: true,
  scale: true,
  imageMemory: true,
  augment: true,
  eager: true,
};

/**
 * The sources of the options' data set, once all options are what they should be.
 *
 * @throws KalmanNormError as the constructor of {@link Trainer}
 * @internal
 */
export function checkTrainerOptions(options: TrainerOptions): SplitSource {
  checkOptions('Trainer', options, optionNames);
  const { model, optimizer, batchSize = 128, accumulate = 1, scale = 1 / 128, imageMemory = 2 ** 31 } = options;
  const { mean = 'image', schedule = null, clipNorm = 1, adaptiveClip = {}, average = null, augment = true } = options;
  const { smoothing = 0 } = options;
  check(model instanceof Module, 'INVALID_ARGUMENT', () => `Trainer: model must be a module, got ${String(model)}`);
  check(
    optimizer instanceof Optimizer,
    'INVALID_ARGUMENT',
    () => `Trainer: optimizer must be an optimizer such as Sgd, got ${String(optimizer)}`,
  );
  const { group: { rank = 0, size = 1 } = {} } = options;
  check(
    Number.isInteger(size) && Number.isInteger(rank) && rank >= 0 && rank < size,
    'INVALID_ARGUMENT',
    `Trainer: group must have a rank below its size, got ${rank} of ${size}`,
  );
  const sources = sourcesOf(options.dataset);
  const trainCount = sources.train.labels.length;
  check(
    Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= trainCount,
    'INVALID_ARGUMENT',
    `Trainer: batchSize must be between 1 and the ${trainCount} training images, got ${batchSize}`,
  );
  check(
    batchSize % size === 0,
    'INVALID_ARGUMENT',
    `Trainer: batchSize must be a multiple of the ${size} processes, got ${batchSize}`,
  );
  check(
    Number.isInteger(accumulate) && accumulate >= 1 && (batchSize / size) % accumulate === 0,
    'INVALID_ARGUMENT',
    `Trainer: accumulate must be a divisor of the batch size ${batchSize}` +
      `${size > 1 ? ` over ${size} processes` : ''}, got ${accumulate}`,
  );
  check(
    typeof augment === 'boolean' || (typeof augment === 'object' && augment !== null),
    'INVALID_ARGUMENT',
    () => `Trainer: augment must be true, false or an object of options, got ${String(augment)}`,
  );
  const augmentation = typeof augment === 'object' ? augment : {};
  checkOptions('Trainer: augment', augmentation, { pad: true, cutout: true });
  const { pad = 4, cutout = 0 } = augmentation;
  for (const [name, value] of Object.entries({ pad, cutout })) {
    check(
      Number.isInteger(value) && value >= 0 && value < 2 ** 15,
      'INVALID_ARGUMENT',
      () => `Trainer: augment.${name} must be a whole number of at least 0, got ${String(value)}`,
    );
  }
  check(
    Number.isFinite(scale) && scale > 0,
    'INVALID_ARGUMENT',
    `Trainer: scale must be a positive number, got ${scale}`,
  );
  check(imageMemory >= 0, 'INVALID_ARGUMENT', `Trainer: imageMemory must not be negative, got ${imageMemory}`);
  const { channels, height, width } = sources.train;
  const lengths = [channels, channels * height * width];
  check(
    mean === 'image' || mean === 'channel' || lengths.includes(mean?.length),
    'INVALID_ARGUMENT',
    () => `Trainer: mean must be "image", "channel" or ${lengths.join(' or ')} values, got ${String(mean)}`,
  );
  check(
    smoothing >= 0 && smoothing <= 1,
    'INVALID_ARGUMENT',
    `Trainer: smoothing must be a number from 0 to 1, got ${smoothing}`,
  );
  check(
    schedule === null || typeof schedule === 'function',
    'INVALID_ARGUMENT',
    () => `Trainer: schedule must be a function, got ${String(schedule)}`,
  );
  check(
    Number.isFinite(clipNorm) && clipNorm > 0,
    'INVALID_ARGUMENT',
    `Trainer: clipNorm must be a positive number, got ${clipNorm}`,
  );
  checkOptions('Trainer: adaptiveClip', adaptiveClip, { clipping: true, parameters: true });
  const { clipping = 0.01 } = adaptiveClip;
  check(
    Number.isFinite(clipping) && clipping > 0,
    'INVALID_ARGUMENT',
    `Trainer: adaptiveClip.clipping must be a positive number, got ${clipping}`,
  );
  check(
    average === null || average instanceof WeightAverage,
    'INVALID_ARGUMENT',
    () => `Trainer: average must be a WeightAverage, got ${String(average)}`,
  );
  return sources;
}
