import { parseArgs } from 'node:util';
import { check } from '../lib/errors.js';
import {
  type BeliefPadding,
  type DatasetName,
  datasetNames,
  KalmanNormError,
  type NormSpec,
  type Precision,
  type RunningStats,
  type Transition,
} from '../lib/index.js';
import { dashed, parseError } from './flags.js';

/** What is particular to an experiment: its name, its curve's label, and its defaults. */
export interface Experiment {
  /** Of the script and, by default, of the run's folder. */
  name: string;
  /** Of the curve in reports. */
  label: string;
  /** Blocks a stage; the network has 6n + 2 layers. */
  n: number;
  norm: NormSpec;
  /** With `--preset reference`: the filter as the paper's authors coded it. */
  reference?: Extract<NormSpec, { type: 'reference-kalman' }>;
}

/** The configuration of a run; it is written into the log as it is. */
export interface Configuration {
  name: string;
  label: string;
  n: number;
  norm: NormSpec;
  logDir: string;
  load: string | null;
  device: string;
  precision: Precision;
  dataset: DatasetName;
  dataDir: string | null;
  download: boolean;
  epochs: number;
  batchSize: number;
  learningRate: number;
  schedule: 'reference' | 'short';
  momentum: number;
  weightDecay: number;
  seed: number;
  threads: number;
  limitTrain: number | null;
  limitTest: number | null;
  eager: boolean;
  profile: boolean;
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

/** What an experiment's flags may default to. */
type Default = string | number | ((experiment: Experiment) => string | number | null);

/** Of a flag: whether it takes a value, what it does, and what its absence means. */
interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly help: string;
  readonly absent?: Default;
}

type Reference = Extract<NormSpec, { type: 'reference-kalman' }>;

const ofReference =
  (pick: (norm: Reference) => string | number | undefined, fallback: string | number) =>
  ({ norm, reference }: Experiment) =>
    pick(reference ?? (norm as Reference)) ?? fallback;

/** Flags that only some normalizations know, with their defaults. */
const normFlags = {
  splits: {
    type: 'string',
    help: 'groups of samples that are normalized apart',
    absent: ({ norm }: Experiment) => (norm.type === 'group' ? 1 : (norm.splits ?? 1)),
  },
  preset: {
    type: 'string',
    help: 'the Kalman filter: corrected, or reference, as the authors coded it',
    absent: 'corrected',
  },
  gain: {
    type: 'string',
    help: 'weight of the batch statistics against the prior (1 - p_rate), or adaptive; with --preset reference, or learned',
    absent: ({ reference }: Experiment) => (reference ? `adaptive; reference: ${reference.gain}` : 'adaptive'),
  },
  correction: {
    type: 'string',
    help: "weight of a step's innovation in the belief's correction",
    absent: 0.1,
  },
  'observation-gradient': {
    type: 'string',
    help: "share of the gradient that flows through the batch's statistics",
    absent: 0.5,
  },
  'running-stats': {
    type: 'string',
    help: 'what inference uses: all-splits or first-split',
    absent: ofReference((n) => n.runningStats, 'all-splits'),
  },
  transition: {
    type: 'string',
    help: '--preset reference: sampled or analytic',
    absent: ofReference((n) => n.transition, 'sampled'),
  },
  'belief-padding': {
    type: 'string',
    help: '--preset reference: aligned or reference',
    absent: ofReference((n) => n.beliefPadding, 'aligned'),
  },
} as const satisfies Record<string, Flag>;

const meaningful: Readonly<Record<NormSpec['type'], readonly (keyof typeof normFlags)[]>> = {
  group: [],
  batch: ['splits', 'running-stats'],
  kalman: ['splits', 'preset', 'gain', 'correction', 'observation-gradient'],
  'reference-kalman': ['splits', 'preset', 'running-stats', 'gain', 'transition', 'belief-padding'],
};

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
  ...normFlags,
  schedule: {
    type: 'string',
    help: 'reference, or short: the large rate for most of a few epochs',
    absent: 'reference',
  },
  lr: { type: 'string', help: 'learning rate of the main phase', absent: 0.1 },
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
  help: { type: 'boolean', short: 'h', help: 'this text' },
} as const satisfies Record<string, Flag>;

/** The text of `--help`: which experiment it is, and what each flag would be without being given. */
export function usage(experiment: Experiment): string {
  const { name, label, norm } = experiment;
  const known = (flag: string) => !(flag in normFlags) || meaningful[norm.type].some((wanted) => wanted === flag);
  const entries = Object.entries<Flag>(flags)
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
export function parseOptions(experiment: Experiment, args: readonly string[]): Configuration | null {
  const values = parse(args);
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
  const norm = normOf(experiment, text, whole);
  if (norm.type !== 'group' && batchSize % (norm.splits ?? 1) !== 0) {
    throw new KalmanNormError(
      'INVALID_ARGUMENT',
      `--splits: expected a divisor of the batch size ${batchSize}, got ${norm.splits}`,
    );
  }
  const device = text('gpu') === undefined ? (text('device') ?? 'cpu') : `cuda:${whole('gpu', 0, 0)}`;
  return {
    name: experiment.name,
    label: experiment.label + variant(norm),
    n: whole('n', experiment.n, 1),
    norm,
    logDir: logDir(text('log_dir') ?? experiment.name),
    load: text('load') ?? null,
    device,
    precision: choice('precision', text('precision'), 'fp32', ['fp32', 'tf32', 'fp16', 'bf16']),
    dataset: choice('dataset', text('dataset'), 'cifar10', datasetNames),
    dataDir: text('data-dir') ?? null,
    download: values.download === true,
    epochs: whole('epochs', 400, 1),
    batchSize,
    learningRate: number(
      'lr',
      text('lr'),
      0.1,
      (value) => value >= 0 && Number.isFinite(value),
      'a number of at least 0',
    ),
    schedule: choice('schedule', text('schedule'), 'reference', ['reference', 'short']),
    momentum: 0.9,
    weightDecay: 2e-4,
    seed: whole('seed', 0, 0),
    threads: whole('threads', 0, 0),
    limitTrain: limit('limit-train'),
    limitTest: limit('limit-test'),
    eager: values.eager === true,
    profile: values.profile === true,
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

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw parseError(error, Object.keys(flags));
  }
}

/** What tells a curve apart from that of the experiment's defaults. */
function variant(norm: NormSpec): string {
  if (norm.type !== 'reference-kalman') return '';
  return norm.transition === 'analytic' ? ', reference, analytic' : ', reference';
}

function normOf(
  experiment: Experiment,
  text: (flag: keyof typeof flags) => string | undefined,
  whole: (flag: keyof typeof flags, fallback: number, least: number) => number,
): NormSpec {
  const preset = choice('preset', text('preset'), 'corrected', ['corrected', 'reference']);
  const norm = preset === 'reference' ? (experiment.reference ?? experiment.norm) : experiment.norm;
  for (const flag of Object.keys(normFlags) as (keyof typeof normFlags)[]) {
    const known = text(flag) === undefined || meaningful[norm.type].includes(flag);
    const where = experiment.reference ? `${experiment.name} with --preset ${preset}` : experiment.name;
    check(known, 'INVALID_ARGUMENT', `--${flag} has no meaning for ${where}`);
  }
  if (norm.type === 'group') return norm;
  const splits = whole('splits', norm.splits ?? 1, 1);
  const share = (flag: keyof typeof flags, fallback: number, expected = 'a number from 0 to 1') =>
    number(flag, text(flag), fallback, (value) => value >= 0 && value <= 1, expected);
  if (norm.type === 'kalman') {
    return {
      ...norm,
      splits,
      gain:
        (text('gain') ?? 'adaptive') === 'adaptive'
          ? 'adaptive'
          : share('gain', 0, '"adaptive" or a number from 0 to 1'),
      correction: share('correction', 0.1),
      observationGradient: share('observation-gradient', 0.5),
    };
  }
  const runningStats = choice<RunningStats>('running-stats', text('running-stats'), norm.runningStats ?? 'all-splits', [
    'all-splits',
    'first-split',
  ]);
  if (norm.type === 'batch') return { ...norm, splits, runningStats };
  return {
    ...norm,
    splits,
    runningStats,
    gain:
      text('gain') === 'learned' ? 'learned' : share('gain', norm.gain as number, '"learned" or a number from 0 to 1'),
    transition: choice<Transition>('transition', text('transition'), norm.transition ?? 'sampled', [
      'sampled',
      'analytic',
    ]),
    beliefPadding: choice<BeliefPadding>('belief-padding', text('belief-padding'), norm.beliefPadding ?? 'aligned', [
      'aligned',
      'reference',
    ]),
  };
}

function number(
  flag: string,
  text: string | undefined,
  fallback: number,
  fits: (value: number) => boolean,
  expected: string,
): number {
  if (text === undefined) return fallback;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!fits(value)) throw new KalmanNormError('INVALID_ARGUMENT', `--${flag}: expected ${expected}, got "${text}"`);
  return value;
}

function choice<T extends string>(flag: string, text: string | undefined, fallback: T, allowed: readonly T[]): T {
  if (text === undefined) return fallback;
  if (!allowed.includes(text as T)) {
    throw new KalmanNormError('INVALID_ARGUMENT', `--${flag}: expected one of ${allowed.join(', ')}, got "${text}"`);
  }
  return text as T;
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
