import { basename, extname, join } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { check, KalmanNormError } from '../../lib/errors.js';
import { readWholeFile } from '../../lib/io/read-file.js';
import { nearest } from '../../lib/options.js';
import { experiment as cifar } from '../cifar.js';
import { experiment as bnLargeBatch } from '../cifar-bn-largebatch.js';
import { experiment as bnMicroBatch } from '../cifar-bn-microbatch.js';
import { experiment as gn } from '../cifar-gn.js';
import { experiment as knLargeBatch } from '../cifar-kn-largebatch.js';
import { experiment as knMicroBatch } from '../cifar-kn-microbatch.js';
import { toWords } from '../flags.js';
import { type Configuration, type Experiment, parseOptions } from '../options.js';

/** One run of a sweep. */
export interface PlannedRun {
  /** What tells it apart from the others: `norm=kalman,splits=64,seed=0`. */
  readonly name: string;
  readonly experiment: Experiment;
  /** Its folder. */
  readonly dir: string;
  /** The command line without the folder. */
  readonly args: readonly string[];
  readonly configuration: Configuration;
}

/** What a sweep's file asks for. */
export interface Plan {
  /** The folder of the runs' folders. */
  readonly out: string;
  /** How many runs go at a time. */
  readonly jobs: number;
  readonly runs: readonly PlannedRun[];
}

type Value = string | number | boolean;
type Flags = Readonly<Record<string, Value>>;

const experiments = new Map(
  [cifar, gn, bnMicroBatch, knMicroBatch, bnLargeBatch, knLargeBatch].map((one) => [one.name, one]),
);
const keys = ['experiment', 'out', 'jobs', 'flags', 'grid', 'seeds'];

/** Flags that the sweep itself gives, and what to write instead. */
const own: Readonly<Record<string, string>> = {
  seed: 'use "seeds"',
  log_dir: 'the sweep names the folders, below "out"',
  resume: 'a sweep goes on by itself',
  force: 'name another folder in "out"',
  overwrite: 'name another folder in "out"',
  help: 'npm run cifar -- --help tells the flags',
};

/**
 * Reads a sweep's file, YAML or JSON. Every run's flags are checked, so that none fails hours later for a slip.
 *
 * @throws KalmanNormError `FILE_NOT_FOUND`, `FILE_CORRUPT` where there is none or it is no YAML; `INVALID_ARGUMENT` for
 *   what no run can be made of
 */
export async function readPlan(path: string): Promise<Plan> {
  const text = new TextDecoder().decode(await readWholeFile(path, 'the file of a sweep', 2 ** 20));
  try {
    return planOf(parse(text), join('train_log', basename(path, extname(path))));
  } catch (error) {
    if (error instanceof YAMLParseError) {
      throw new KalmanNormError('FILE_CORRUPT', `${path}: expected YAML or JSON: ${error.message}`, { cause: error });
    }
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError(error.code, `${path}: ${error.message}`, { cause: error });
  }
}

/**
 * The runs that a sweep's content asks for: each combination of the grid with each seed.
 *
 * @param content what the file holds
 * @param fallback the folder where it names none
 * @throws KalmanNormError `INVALID_ARGUMENT` as {@link readPlan}
 */
export function planOf(content: unknown, fallback: string): Plan {
  const file = record('the sweep', content);
  for (const key of Object.keys(file)) {
    const near = nearest(key, keys);
    refuseUnless(
      keys.includes(key),
      `unknown "${key}"; ${near ? `did you mean "${near}"?` : `expected ${keys.join(', ')}`}`,
    );
  }
  const { experiment: name = 'cifar', out = fallback, jobs = 1 } = file;
  const experiment = experiments.get(name as string);
  refuseUnless(
    experiment !== undefined,
    `experiment: expected one of ${[...experiments.keys()].join(', ')}, got ${JSON.stringify(name)}`,
  );
  refuseUnless(typeof out === 'string' && out.trim() !== '', `out: expected a folder, got ${JSON.stringify(out)}`);
  refuseUnless(isCount(jobs, 1), `jobs: expected a whole number of at least 1, got ${JSON.stringify(jobs)}`);
  const common = flagsOf('flags', file.flags ?? {});
  const points = combinations(file.grid ?? {});
  const seeds = seedsOf(file.seeds ?? [0]);
  refuseMany(points.length * seeds.length);
  const runs = points.flatMap((point) =>
    seeds.map((seed) => {
      const varied: Flags = { ...point, seed };
      const title = Object.entries(varied).map(([flag, value]) => `${flag}=${value}`);
      // A path among the values stays one name.
      const run = title.join(',').replaceAll(/[^\w.,=+-]/g, '_');
      return plannedRun(experiment, run, join(out, run), { ...common, ...varied });
    }),
  );
  const repeated = runs.find((run, i) => runs.findIndex(({ name }) => name === run.name) !== i);
  refuseUnless(repeated === undefined, `grid: ${repeated?.name} is there twice`);
  return { out, jobs, runs };
}

function plannedRun(experiment: Experiment, name: string, dir: string, flags: Flags): PlannedRun {
  const args = toWords(flags);
  try {
    const configuration = parseOptions(experiment, [...args, `--log_dir=${dir}`]) as Configuration;
    return { name, experiment, dir, args, configuration };
  } catch (error) {
    if (!(error instanceof KalmanNormError)) throw error;
    throw new KalmanNormError(error.code, `${name}: ${error.message}`, { cause: error });
  }
}

/** A grid is a mapping of flags to their values, or a list of such mappings, one after the other. */
function combinations(grid: unknown): Flags[] {
  const grids = Array.isArray(grid) ? grid : [grid];
  refuseUnless(grids.length > 0, 'grid: expected a mapping of flags to values, got an empty list');
  return grids.flatMap((one, i) => {
    const where = Array.isArray(grid) ? `grid[${i}]` : 'grid';
    let points: Flags[] = [{}];
    for (const [flag, given] of Object.entries(record(where, one))) {
      const values: unknown[] = Array.isArray(given) ? given : [given];
      refuseUnless(values.length > 0, `${where}.${flag}: expected a value or a list of values, got an empty list`);
      refuseMany(points.length * values.length);
      points = points.flatMap((point) => values.map((value) => ({ ...point, ...flagsOf(where, { [flag]: value }) })));
    }
    return points;
  });
}

function flagsOf(where: string, given: unknown): Flags {
  const flags = record(where, given);
  for (const [flag, value] of Object.entries(flags)) {
    refuseUnless(!Object.hasOwn(own, flag), `${where}.${flag} is not for a sweep: ${own[flag]}`);
    refuseUnless(
      ['string', 'number', 'boolean'].includes(typeof value),
      `${where}.${flag}: expected a text, a number or true, got ${JSON.stringify(value)}`,
    );
  }
  return flags as Flags;
}

/** A number of seeds from 0 on, or the seeds themselves. */
function seedsOf(seeds: unknown): number[] {
  if (isCount(seeds, 1)) refuseMany(seeds);
  const list: unknown[] = isCount(seeds, 1)
    ? Array.from({ length: seeds }, (_, i) => i)
    : Array.isArray(seeds)
      ? seeds
      : [];
  refuseUnless(
    list.length > 0 && list.every((seed) => isCount(seed, 0)),
    `seeds: expected their number or a list of whole numbers, got ${JSON.stringify(seeds)}`,
  );
  return list as number[];
}

/** Of one sweep; each is looked at before the first begins. */
const mostRuns = 10_000;

function refuseMany(runs: number): void {
  refuseUnless(runs <= mostRuns, `expected at most ${mostRuns} runs, got ${runs}`);
}

function isCount(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

function record(where: string, value: unknown): Readonly<Record<string, unknown>> {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  refuseUnless(isRecord, `${where}: expected a mapping, got ${JSON.stringify(value)}`);
  return value as Readonly<Record<string, unknown>>;
}

function refuseUnless(condition: boolean, message: string): asserts condition {
  check(condition, 'INVALID_ARGUMENT', message);
}
