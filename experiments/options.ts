import { check } from '../lib/errors.js';
import {
  CifarResNet,
  type DatasetName,
  datasetNames,
  type NormSpec,
  type Precision,
  referenceSchedule,
  type Schedule,
  shortSchedule,
  type WeightStandardization,
} from '../lib/index.js';
import type { Experiment } from './experiment.js';
import { choice, type Flag, number, parseFlags } from './flags.js';
import { chosenNorm, hasFilter } from './norms.js';
import { isKnown, MOST_EPOCHS, rateOf, runFlags, runOptions, usageOf, wholeOf } from './run-options.js';

export type { Experiment } from './experiment.js';

/** The configuration of a run; it is written into the log as it is. */
export interface Configuration {
  name: string;
  label: string;
  n: number;
  norm: NormSpec;
  weightStandardization: WeightStandardization;
  logDir: string;
  load: string | null;
  /** Or several, separated by commas: one for each process. */
  device: string;
  /** How many processes train together; splits are of the batch of all. */
  processes: number;
  /** Whether running averages and filters' states become their means over the processes behind every epoch. */
  syncStatistics: boolean;
  precision: Precision;
  dataset: DatasetName;
  dataDir: string | null;
  download: boolean;
  epochs: number;
  batchSize: number;
  /** In how many parts a batch goes through the network, one after the other. */
  accumulate: number;
  learningRate: number;
  /** Of adaptive gradient clipping; null for none. The last layer's gradients aren't clipped. */
  agc: number | null;
  schedule: 'reference' | 'short';
  momentum: number;
  weightDecay: number;
  seed: number;
  threads: number;
  limitTrain: number | null;
  limitTest: number | null;
  eager: boolean;
  profile: boolean;
  /** Whether TensorBoard gets histograms of weights, beliefs and running averages behind every epoch. */
  histograms: boolean;
  /** Whether to look at the filter behind each epoch. */
  diagnose: boolean;
  /** When to write a checkpoint, at ends of epochs; null for never. */
  checkpointEvery: { epochs: number } | { minutes: number } | null;
  /** How many of the newest checkpoints stay. */
  keep: number;
  /** The folder of the run to go on with. */
  resume: string | null;
  force: boolean;
  overwrite: boolean;
  /** The flags that were given, but for those that say which run it is. */
  flags: Readonly<Record<string, string | boolean>>;
}

const flags = {
  n: {
    type: 'string',
    short: 'n',
    help: 'blocks a stage; the network has 6n + 2 layers',
    absent: ({ n }: Experiment) => n,
  },
  load: { type: 'string', help: 'model file (.safetensors) to start from', absent: 'none' },
  dataset: { type: 'string', help: datasetNames.join(', '), absent: 'cifar10' },
  'data-dir': { type: 'string', help: 'folder of the data set', absent: 'the cache' },
  download: { type: 'boolean', help: 'download CIFAR where it is not found' },
  epochs: { type: 'string', help: 'epochs of the whole schedule', absent: 400 },
  'batch-size': { type: 'string', help: 'images a step', absent: 128 },
  schedule: {
    type: 'string',
    help: 'reference, or short: the large rate for most of a few epochs',
    absent: 'reference',
  },
  lr: { type: 'string', help: 'learning rate of the main phase', absent: 0.1 },
  agc: {
    type: 'string',
    help: "adaptive gradient clipping: largest ratio of a gradient's norm to that of an output's weights",
    absent: 'none',
  },
  'limit-train': { type: 'string', help: 'use only so many training images', absent: 'all' },
  'limit-test': { type: 'string', help: 'use only so many test images', absent: 'all' },
  diagnose: { type: 'boolean', help: "look at what a Kalman network's filters are doing behind each epoch" },
  ...runFlags,
} as const satisfies Record<string, Flag<Experiment>>;

/** The text of `--help`: which experiment it is, and what each flag would be without being given. */
export function usage(given: Experiment, args: readonly string[] = []): string {
  const experiment = chosenNorm(given, parse(args).norm);
  const { name, label, norm } = experiment;
  const known = (flag: string) => {
    if (flag === 'norm') return given.anyNorm === true;
    return flag === 'diagnose' ? hasFilter(norm) : isKnown(norm, flag);
  };
  return usageOf(`${name}: ${label}`, name, experiment, flags, known);
}

/**
 * Reads the command line of an experiment.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and bad values
 */
export function parseOptions(given: Experiment, args: readonly string[]): Configuration | null {
  const values = parse(args);
  if (values.help) return null;
  const text = (flag: keyof typeof flags) => values[flag] as string | undefined;
  const whole = wholeOf(values);
  const limit = (flag: keyof typeof flags) => (text(flag) === undefined ? null : whole(flag, 0, 1));
  const batchSize = whole('batch-size', 128, 1);
  const { experiment, options } = runOptions(given, values, batchSize);
  check(
    values.diagnose !== true || hasFilter(options.norm),
    'INVALID_ARGUMENT',
    `--diagnose: a network with ${options.norm.type} norm has no filter`,
  );
  return {
    ...options,
    n: whole('n', experiment.n, 1, CifarResNet.mostBlocks),
    load: text('load') ?? null,
    dataset: choice('dataset', text('dataset'), 'cifar10', datasetNames),
    dataDir: text('data-dir') ?? null,
    download: values.download === true,
    epochs: whole('epochs', 400, 1, MOST_EPOCHS),
    batchSize,
    learningRate: rateOf('lr', text('lr'), 0.1),
    agc:
      text('agc') === undefined
        ? null
        : number('agc', text('agc'), 0, (value) => value > 0 && Number.isFinite(value), 'a positive number'),
    schedule: choice('schedule', text('schedule'), 'reference', ['reference', 'short']),
    momentum: 0.9,
    weightDecay: 2e-4,
    limitTrain: limit('limit-train'),
    limitTest: limit('limit-test'),
    diagnose: values.diagnose === true,
  };
}

/** The learning rate by the epoch. */
export function scheduleOf({ schedule, epochs, learningRate }: Configuration): Schedule {
  return (schedule === 'short' ? shortSchedule : referenceSchedule)(epochs, learningRate);
}

function parse(args: readonly string[]) {
  return parseFlags(args, flags, false).values;
}
