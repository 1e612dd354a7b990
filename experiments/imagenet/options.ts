import { availableParallelism } from 'node:os';
import { imagesUnderWay } from '../../lib/data/decode-images.js';
import { check } from '../../lib/errors.js';
import { cosineSchedule, type ImageDecoder, type ResNetOptions, type Schedule, warmUp } from '../../lib/index.js';
import type { Experiment } from '../experiment.js';
import { choice, type Flag, number, parseFlags } from '../flags.js';
import { chosenNorm } from '../norms.js';
import {
  isKnown,
  MOST_EPOCHS,
  type RunOptions,
  rateOf,
  runFlags,
  runOptions,
  usageOf,
  wholeOf,
} from '../run-options.js';

/** Any normalization, as `--norm` says. */
export const experiment: Experiment = {
  name: 'imagenet',
  label: 'KN',
  n: 0,
  norm: { type: 'kalman' },
  anyNorm: true,
};

const architectures = ['resnet18', 'resnet34', 'resnet50', 'resnet101'] as const;

/** The configuration of a run; it is written into the log as it is. */
export interface ImageNetConfiguration extends RunOptions {
  data: string;
  architecture: (typeof architectures)[number];
  /** Channels of the stem. */
  width: number;
  /** Pixels a side. */
  size: number;
  epochs: number;
  batchSize: number;
  learningRate: number;
  warmUp: number;
  momentum: number;
  weightDecay: number;
  smoothing: number;
  /** Bytes of decoded images that may lie on the device. */
  imageMemory: number;
  decoder: ImageDecoder;
  /** Threads that decode, of each process. */
  decodeThreads: number;
  /** Images that are read or decoded at a time. */
  parallel: number;
  verify: boolean;
}

const flags = {
  data: {
    type: 'string',
    help: 'folder with train and val, each with a folder a class (train/CLASS/*.jpg) or with tars as WebDataset has them',
    absent: 'none; it must be given',
  },
  architecture: { type: 'string', help: architectures.join(', '), absent: 'resnet50' },
  width: { type: 'string', help: 'channels of the first convolution; later ones in proportion', absent: 64 },
  size: { type: 'string', help: 'pixels a side of the images, after crops', absent: 224 },
  epochs: { type: 'string', help: 'epochs of the whole schedule', absent: 90 },
  batch: { type: 'string', help: 'images a step', absent: 256 },
  lr: {
    type: 'string',
    help: 'learning rate behind the warm-up; half a cosine takes it to 0',
    absent: '0.1 for 256 images a step, in proportion for others',
  },
  'warm-up': { type: 'string', help: 'epochs in which the learning rate rises', absent: 5 },
  'weight-decay': { type: 'string', help: 'of all weights', absent: 1e-4 },
  'label-smoothing': { type: 'string', help: 'share of the target that all classes have', absent: 0.1 },
  'image-memory': {
    type: 'string',
    help: 'MiB of decoded images on the device; the process has as many, and twice while it reads',
    absent: 128,
  },
  decoder: {
    type: 'string',
    help: 'native (libjpeg-turbo), sharp, or auto: native where it was built in, sharp for all but JPEGs',
    absent: 'auto',
  },
  'decode-threads': {
    type: 'string',
    help: "threads of the native decoder; sharp takes libuv's (UV_THREADPOOL_SIZE, 4)",
    absent: 'as many as there are cores, shared by the processes',
  },
  parallel: {
    type: 'string',
    help: 'images read or decoded at a time',
    absent: '16, or twice the threads if that is more',
  },
  verify: { type: 'boolean', help: 'decode every image once before training, to find those that are damaged' },
  ...runFlags,
} as const satisfies Record<string, Flag<Experiment>>;

/** The text of `--help`. */
export function imagenetUsage(args: readonly string[]): string {
  const chosen = chosenNorm(experiment, parse(args).norm as string | undefined);
  const { norm } = chosen;
  const known = (flag: string) => flag !== 'preset' && isKnown(norm, flag);
  return usageOf(`imagenet: residual networks on photographs, ${chosen.label}`, 'imagenet', chosen, flags, known);
}

/**
 * Reads the command line of `npm run imagenet`.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and bad values
 */
export function parseImageNet(args: readonly string[]): ImageNetConfiguration | null {
  const values = parse(args);
  if (values.help) return null;
  const text = (flag: keyof typeof flags) => values[flag] as string | undefined;
  const whole = wholeOf(values);
  const batchSize = whole('batch', 256, 1);
  const { options } = runOptions(experiment, values, batchSize);
  check(
    options.norm.type !== 'reference-kalman',
    'INVALID_ARGUMENT',
    '--norm: reference-kalman has blocks for CIFAR only; the corrected filter is --norm kalman',
  );
  const data = text('data') ?? '';
  // A run that is resumed has it in its log.
  check(data !== '' || options.resume !== null, 'INVALID_ARGUMENT', '--data: expected a folder with train and val');
  const epochs = whole('epochs', 90, 1, MOST_EPOCHS);
  const warm = number(
    'warm-up',
    text('warm-up'),
    Math.min(5, epochs - 1),
    (value) => Number.isInteger(value) && value >= 0 && value < epochs,
    `a whole number from 0 to ${epochs - 1}, less than --epochs`,
  );
  const decodeThreads = whole('decode-threads', Math.max(1, Math.floor(availableParallelism() / options.processes)), 1);
  const share = (value: number) => value >= 0 && value <= 1;
  return {
    ...options,
    data,
    architecture: choice('architecture', text('architecture'), 'resnet50', architectures),
    width: whole('width', 64, 16),
    size: number(
      'size',
      text('size'),
      224,
      (value) => Number.isInteger(value) && value >= 32 && value <= 1024,
      'a whole number from 32 to 1024',
    ),
    epochs,
    batchSize,
    learningRate: rateOf('lr', text('lr'), (0.1 * batchSize) / 256),
    warmUp: warm,
    momentum: 0.9,
    weightDecay: rateOf('weight-decay', text('weight-decay'), 1e-4),
    smoothing: number('label-smoothing', text('label-smoothing'), 0.1, share, 'a number from 0 to 1'),
    imageMemory: whole('image-memory', 128, 1) * 2 ** 20,
    decoder: choice('decoder', text('decoder'), 'auto', ['auto', 'native', 'sharp']),
    decodeThreads,
    parallel: whole('parallel', imagesUnderWay(decodeThreads), 1),
    verify: values.verify === true,
  };
}

/** The depth of an architecture. */
export function depthOf({ architecture }: ImageNetConfiguration): ResNetOptions['depth'] {
  return Number(architecture.slice('resnet'.length)) as ResNetOptions['depth'];
}

/** The learning rate by the step: a rise by steps, then half a cosine (Goyal et al. 2017; He et al. 2019). */
export function imagenetSchedule(
  { learningRate, epochs, warmUp: rise }: ImageNetConfiguration,
  stepsPerEpoch: number,
): Schedule {
  const fall = cosineSchedule((epochs - rise) * stepsPerEpoch, learningRate);
  return rise === 0 ? fall : warmUp(rise * stepsPerEpoch, fall);
}

function parse(args: readonly string[]) {
  return parseFlags(args, flags, false).values;
}
