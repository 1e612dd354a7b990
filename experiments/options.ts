import { parseArgs } from 'node:util';
import { check } from '../lib/errors.js';
import {
  type DatasetName,
  datasetNames,
  KalmanNormError,
  type NormSpec,
  type Precision,
  referenceSchedule,
  type Schedule,
  shortSchedule,
  type WeightStandardization,
} from '../lib/index.js';
import { defaultStandardization } from '../lib/models/norm-spec.js';
import type { Experiment } from './experiment.js';
import { choice, dashed, type Flag, number, parseError } from './flags.js';
import { chosenNorm, flagsOf, hasFilter, inParts, labelOf, normFlags, normNames, normOf } from './norms.js';

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
  device: string;
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
  gpu: { type: 'string', help: 'number of the NVIDIA GPU to run on, as --device cuda:N', absent: 'none' },
  n: {
    type: 'string',
    short: 'n',
    help: 'blocks a stage; the network has 6n + 2 layers',
    absent: ({ n }: Experiment) => n,
  },
  log_dir: {
    type: 'string',
    help: 'folder of the run; a bare name lies in train_log',
    absent: ({ name }: Experiment) => name,
  },
  load: { type: 'string', help: 'model file (.safetensors) to start from', absent: 'none' },
  device: { type: 'string', help: 'cpu or cuda:N', absent: 'cpu' },
  precision: {
    type: 'string',
    help: 'fp32, tf32, fp16 or bf16: how a GPU stores and multiplies activations',
    absent: 'fp32',
  },
  dataset: { type: 'string', help: datasetNames.join(', '), absent: 'cifar10' },
  'data-dir': { type: 'string', help: 'folder of the data set', absent: 'the cache' },
  download: { type: 'boolean', help: 'download CIFAR where it is not found' },
  epochs: { type: 'string', help: 'epochs of the whole schedule', absent: 400 },
  'batch-size': { type: 'string', help: 'images a step', absent: 128 },
  accumulate: {
    type: 'string',
    help: 'parts of a batch that go through the network one after the other, each normalized as a batch of its own',
    absent: 1,
  },
  norm: {
    type: 'string',
    help: `the normalization: ${normNames.join(', ')}`,
    absent: 'kalman',
  },
  ...normFlags,
  'weight-standardization': { type: 'boolean', help: "standardize the weights of each of a convolution's outputs" },
  'filter-gain': {
    type: 'string',
    help: 'with --weight-standardization: the norm of the weights of an output',
    absent: 'the root of their number, as in the paper',
  },
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
  seed: { type: 'string', help: 'of initial values, order, crops, flips and noise', absent: 0 },
  threads: { type: 'string', help: 'of the CPU device', absent: 'one a core' },
  'limit-train': { type: 'string', help: 'use only so many training images', absent: 'all' },
  'limit-test': { type: 'string', help: 'use only so many test images', absent: 'all' },
  'checkpoint-every': {
    type: 'string',
    help: 'epochs between two checkpoints, or minutes as in 10m; 0 for none',
    absent: 1,
  },
  keep: { type: 'string', help: 'how many of the newest checkpoints stay', absent: 2 },
  resume: { type: 'string', help: 'folder of a run to go on with, from its last checkpoint', absent: 'none' },
  force: { type: 'boolean', help: 'with --resume: go on though flags have changed' },
  overwrite: { type: 'boolean', help: 'delete an earlier run in the folder instead of moving it aside' },
  eager: { type: 'boolean', help: 'enqueue every operation instead of replaying a recorded step' },
  profile: { type: 'boolean', help: 'print the time by operation at the end' },
  histograms: { type: 'boolean', help: 'weights, beliefs and running averages for TensorBoard, behind every epoch' },
  diagnose: { type: 'boolean', help: "look at what a Kalman network's filters are doing behind each epoch" },
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const satisfies Record<string, Flag<Experiment>>;

/** The text of `--help`: which experiment it is, and what each flag would be without being given. */
export function usage(given: Experiment, args: readonly string[] = []): string {
  const experiment = chosenNorm(given, parse(args).norm);
  const { name, label, norm } = experiment;
  const known = (flag: string) => {
    if (flag === 'norm') return given.anyNorm === true;
    if (flag === 'diagnose') return hasFilter(norm);
    return !(flag in normFlags) || flagsOf(norm).some((wanted) => wanted === flag);
  };
  const entries = Object.entries<Flag<Experiment>>(flags)
    .filter(([flag]) => known(flag))
    .map(([flag, { type, help, absent }]): [string, string] => {
      const used = typeof absent === 'function' ? absent(experiment) : absent;
      return [
        dashed(flag) + (type === 'string' ? ' VALUE' : ''),
        help + (used === undefined ? '' : `; default: ${used}`),
      ];
    });
  const width = Math.max(...entries.map(([flag]) => flag.length));
  const lines = entries.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`);
  return [`${name}: ${label}`, '', `usage: npm run ${name} -- [flags]`, '', ...lines].join('\n');
}

/**
 * Reads the command line of an experiment.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError `INVALID_ARGUMENT` for unknown flags and bad values
 */
export function parseOptions(given: Experiment, args: readonly string[]): Configuration | null {
  const values = parse(args);
  const experiment = chosenNorm(given, values.norm);
  if (values.help) return null;
  const text = (flag: keyof typeof flags) => values[flag] as string | undefined;
  const whole = (flag: keyof typeof flags, fallback: number, least: number) =>
    number(
      flag,
      text(flag),
      fallback,
      (value) => Number.isInteger(value) && value >= least,
      `a whole number of at least ${least}`,
    );
  const limit = (flag: keyof typeof flags) => (text(flag) === undefined ? null : whole(flag, 0, 1));
  check(
    text('resume') === undefined || (text('log_dir') === undefined && values.overwrite !== true),
    'INVALID_ARGUMENT',
    '--resume names the folder: give neither --log_dir nor --overwrite with it',
  );
  if (text('gpu') !== undefined && text('device') !== undefined) {
    throw new KalmanNormError('INVALID_ARGUMENT', 'give either --gpu or --device, not both');
  }
  const batchSize = whole('batch-size', 128, 1);
  const accumulate = whole('accumulate', 1, 1);
  check(
    batchSize % accumulate === 0,
    'INVALID_ARGUMENT',
    `--accumulate: expected a divisor of the batch size ${batchSize}, got ${accumulate}`,
  );
  const norm = inParts(normOf(experiment, text, whole), accumulate);
  const splits = ('splits' in norm && norm.splits) || 1;
  check(
    (batchSize / accumulate) % splits === 0,
    'INVALID_ARGUMENT',
    `--splits: expected a divisor of the batch size ${batchSize}${accumulate > 1 ? ` in ${accumulate} parts` : ''}, got ${splits}`,
  );
  check(
    values.diagnose !== true || hasFilter(norm),
    'INVALID_ARGUMENT',
    `--diagnose: a network with ${norm.type} norm has no filter`,
  );
  const weightStandardization = standardization(
    values['weight-standardization'] === true,
    text('filter-gain'),
    defaultStandardization(norm),
  );
  const device = text('gpu') === undefined ? (text('device') ?? 'cpu') : `cuda:${whole('gpu', 0, 0)}`;
  return {
    name: experiment.name,
    label: labelOf(experiment, norm, weightStandardization, batchSize / accumulate),
    n: whole('n', experiment.n, 1),
    norm,
    weightStandardization,
    logDir: logDir(text('log_dir') ?? (given.anyNorm ? `${experiment.name}-${norm.type}` : experiment.name)),
    load: text('load') ?? null,
    device,
    precision: choice('precision', text('precision'), 'fp32', ['fp32', 'tf32', 'fp16', 'bf16']),
    dataset: choice('dataset', text('dataset'), 'cifar10', datasetNames),
    dataDir: text('data-dir') ?? null,
    download: values.download === true,
    epochs: whole('epochs', 400, 1),
    batchSize,
    accumulate,
    learningRate: number(
      'lr',
      text('lr'),
      0.1,
      (value) => value >= 0 && Number.isFinite(value),
      'a number of at least 0',
    ),
    agc:
      text('agc') === undefined
        ? null
        : number('agc', text('agc'), 0, (value) => value > 0 && Number.isFinite(value), 'a positive number'),
    schedule: choice('schedule', text('schedule'), 'reference', ['reference', 'short']),
    momentum: 0.9,
    weightDecay: 2e-4,
    seed: whole('seed', 0, 0),
    threads: whole('threads', 0, 0),
    limitTrain: limit('limit-train'),
    limitTest: limit('limit-test'),
    eager: values.eager === true,
    profile: values.profile === true,
    histograms: values.histograms === true,
    diagnose: values.diagnose === true,
    checkpointEvery: checkpointEvery(text('checkpoint-every') ?? '1'),
    keep: whole('keep', 2, 1),
    resume: text('resume') ?? null,
    force: values.force === true,
    overwrite: values.overwrite === true,
    flags: Object.fromEntries(
      Object.entries(values as Record<string, string | boolean>).filter(([flag]) => !ofThisRun.has(flag)),
    ),
  };
}

/** The learning rate by the epoch. */
export function scheduleOf({ schedule, epochs, learningRate }: Configuration): Schedule {
  return (schedule === 'short' ? shortSchedule : referenceSchedule)(epochs, learningRate);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw parseError(error, Object.keys(flags));
  }
}

function standardization(
  wanted: boolean,
  gain: string | undefined,
  fallback: WeightStandardization,
): WeightStandardization {
  check(
    wanted || gain === undefined,
    'INVALID_ARGUMENT',
    '--filter-gain has no meaning without --weight-standardization',
  );
  // What is standardized to a norm anyway stays so.
  if (gain === undefined) return (wanted && typeof fallback !== 'number') || fallback;
  return number('filter-gain', gain, 1, (value) => value > 0 && Number.isFinite(value), 'a positive number');
}

/** Flags that a resumed run doesn't take over. */
const ofThisRun = new Set(['log_dir', 'resume', 'force', 'overwrite']);

function checkpointEvery(text: string): Configuration['checkpointEvery'] {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)(m?)$/.exec(text) ?? [];
  const value = Number(digits);
  check(
    digits !== undefined && (unit === 'm' ? value > 0 : Number.isInteger(value)),
    'INVALID_ARGUMENT',
    `--checkpoint-every: expected a whole number of epochs, or minutes as in 10m, got "${text}"`,
  );
  if (unit === 'm') return { minutes: value };
  return value === 0 ? null : { epochs: value };
}

/** As the reference: a bare name lies in train_log. */
function logDir(name: string): string {
  check(name.trim() !== '', 'INVALID_ARGUMENT', '--log_dir: expected a folder, got an empty name');
  return /[\\/]|^\.{1,2}$/.test(name) ? name : `train_log/${name}`;
}
