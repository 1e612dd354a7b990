/** What the command lines of all programs that train have in common. */

import { check } from '../lib/errors.js';
import { KalmanNormError, type NormSpec, type WeightStandardization } from '../lib/index.js';
import { defaultStandardization } from '../lib/models/norm-spec.js';
import type { Experiment } from './experiment.js';
import { choice, dashed, type Flag, number } from './flags.js';
import { chosenNorm, flagsOf, inParts, labelOf, normFlags, normNames, normOf } from './norms.js';
import type { Configuration } from './options.js';
import { checkProcesses, processesOf } from './processes.js';
import type { RunConfiguration } from './training.js';

/** Flags of every program that trains. */
export const runFlags = {
  gpu: {
    type: 'string',
    help: 'number of the NVIDIA GPU to run on, as --device cuda:N; several, as in 0,1, for one process each',
    absent: 'none',
  },
  log_dir: {
    type: 'string',
    help: 'folder of the run; a bare name lies in train_log',
    absent: ({ name }: Experiment) => name,
  },
  device: { type: 'string', help: 'cpu or cuda:N; several, separated by commas, for one process each', absent: 'cpu' },
  'sync-statistics': {
    type: 'boolean',
    help: "in several processes: running averages and filters' states become their means behind every epoch",
  },
  precision: {
    type: 'string',
    help: 'fp32, tf32, fp16 or bf16: how a GPU stores and multiplies activations',
    absent: 'fp32',
  },
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
  seed: { type: 'string', help: 'of initial values, order, crops, flips and noise', absent: 0 },
  threads: { type: 'string', help: 'of the CPU device', absent: 'one a core' },
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
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const satisfies Record<string, Flag<Experiment>>;

type Values = Readonly<Record<string, string | boolean | undefined>>;

/** What {@link runOptions} reads. */
export type RunOptions = Omit<RunConfiguration, 'epochs'> &
  Pick<Configuration, 'norm' | 'weightStandardization' | 'accumulate' | 'seed' | 'eager'>;

/** A help text: the flags that a program knows, and what each would be without being given. */
export function usageOf(
  title: string,
  command: string,
  experiment: Experiment,
  flags: Readonly<Record<string, Flag<Experiment>>>,
  known: (flag: string) => boolean,
): string {
  const entries = Object.entries(flags)
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
  return [title, '', `usage: npm run ${command} -- [flags]`, '', ...lines].join('\n');
}

/** Whether a flag has a meaning with a normalization. */
export function isKnown(norm: NormSpec, flag: string): boolean {
  return !(flag in normFlags) || flagsOf(norm).some((wanted) => wanted === flag);
}

/** Reads whole numbers of a command line. */
export function wholeOf(values: Values): (flag: string, fallback: number, least: number, most?: number) => number {
  return (flag, fallback, least, most = Number.POSITIVE_INFINITY) =>
    number(
      flag,
      values[flag] as string | undefined,
      fallback,
      (value) => Number.isInteger(value) && value >= least && value <= most,
      `a whole number ${most < Number.POSITIVE_INFINITY ? `from ${least} to ${most}` : `of at least ${least}`}`,
    );
}

/** More epochs than anybody waits for; schedules are looked through epoch by epoch. */
export const MOST_EPOCHS = 1_000_000;

/** A number of at least 0, such as a learning rate. */
export function rateOf(flag: string, text: string | undefined, fallback: number): number {
  return number(flag, text, fallback, (value) => value >= 0 && Number.isFinite(value), 'a number of at least 0');
}

/**
 * Reads {@link runFlags}.
 *
 * @returns the experiment as `--norm` makes it, and the options
 * @throws KalmanNormError `INVALID_ARGUMENT` for bad values
 */
export function runOptions(
  given: Experiment,
  values: Values,
  batchSize: number,
): { experiment: Experiment; options: RunOptions } {
  const text = (flag: keyof typeof runFlags) => values[flag] as string | undefined;
  const experiment = chosenNorm(given, text('norm'));
  const whole = wholeOf(values);
  check(
    text('resume') === undefined || (text('log_dir') === undefined && values.overwrite !== true),
    'INVALID_ARGUMENT',
    '--resume names the folder: give neither --log_dir nor --overwrite with it',
  );
  if (text('gpu') !== undefined && text('device') !== undefined) {
    throw new KalmanNormError('INVALID_ARGUMENT', 'give either --gpu or --device, not both');
  }
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
  const weightStandardization = standardization(
    values['weight-standardization'] === true,
    text('filter-gain'),
    defaultStandardization(norm),
  );
  const device = text('gpu') === undefined ? (text('device') ?? 'cpu') : gpus(text('gpu') as string);
  const processes = processesOf(device);
  const syncStatistics = values['sync-statistics'] === true;
  checkProcesses(device, processes, norm, syncStatistics);
  const options = {
    name: experiment.name,
    label: labelOf(experiment, norm, weightStandardization, batchSize / accumulate),
    norm,
    weightStandardization,
    logDir: logDir(text('log_dir') ?? (given.anyNorm ? `${experiment.name}-${norm.type}` : experiment.name)),
    device,
    processes,
    syncStatistics,
    precision: choice('precision', text('precision'), 'fp32', ['fp32', 'tf32', 'fp16', 'bf16']),
    accumulate,
    seed: whole('seed', 0, 0),
    threads: whole('threads', 0, 0),
    eager: values.eager === true,
    profile: values.profile === true,
    histograms: values.histograms === true,
    checkpointEvery: checkpointEvery(text('checkpoint-every') ?? '1'),
    keep: whole('keep', 2, 1),
    resume: text('resume') ?? null,
    force: values.force === true,
    overwrite: values.overwrite === true,
    flags: Object.fromEntries(
      Object.entries(values as Record<string, string | boolean>).filter(([flag]) => !ofThisRun.has(flag)),
    ),
  };
  return { experiment, options };
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

/** Numbers of GPUs, as the reference has them, as devices. */
function gpus(text: string): string {
  const isIndex = (value: number) => Number.isInteger(value) && value >= 0;
  const name = (index: string) => `cuda:${number('gpu', index, 0, isIndex, 'numbers of GPUs, such as 0 or 0,1')}`;
  return text.split(',').map(name).join(',');
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
