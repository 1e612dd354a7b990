import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { check, KalmanNormError } from '../lib/errors.js';
import { dashed, toWords } from './flags.js';
import { incidental } from './incidental.js';
import { type Configuration, type Experiment, parseOptions } from './options.js';
import { isRestarted } from './processes.js';
import { logFile } from './report/log.js';
import type { RunConfiguration } from './training.js';

/**
 * The configuration of a command line; with `--resume` that of the run, which flags may repeat but not change.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError as {@link parseOptions}; `INVALID_ARGUMENT` where the run is another experiment's, or flags would
 *   change what it gives and there is no `--force`; `FILE_NOT_FOUND`, `FILE_CORRUPT` where there is no log to go on from
 */
export function configurationOf(experiment: Experiment, args: readonly string[]): Promise<Configuration | null> {
  return resumedConfiguration(experiment.name, parserOf(experiment), args);
}

/** Reads the flags of a program that trains; null where help was asked for. */
export type Parser<C> = (args: readonly string[]) => C | null;

const parserOf =
  (experiment: Experiment): Parser<Configuration> =>
  (args) =>
    parseOptions(experiment, args);

/**
 * As {@link configurationOf}, of any program that trains.
 *
 * @param name of the program
 */
export async function resumedConfiguration<C extends RunConfiguration>(
  name: string,
  parse: Parser<C>,
  args: readonly string[],
): Promise<C | null> {
  const given = parse(args);
  if (!given) return null;
  const folder = resolve(given.resume ?? given.logDir);
  if (!given.resume) {
    const log = await storedConfiguration(folder).catch(() => null);
    if (!log || !isRestarted(log)) return given;
  }
  const stored = await storedConfiguration(folder);
  check(stored.name === name, 'INVALID_ARGUMENT', `--resume: ${folder} is a run of ${stored.name}, got ${name}`);
  const wanted = { ...stored.flags, ...given.flags };
  const differences = changesOf(parse, stored.flags, wanted);
  check(
    differences.length === 0 || given.force,
    'INVALID_ARGUMENT',
    () => `--resume: ${differences.join('; ')}. --force goes on all the same`,
  );
  const resumed = withFlags(parse, wanted, folder);
  // Older logs don't say. A checkpoint has the statistics of each process.
  const { processes = 1 } = stored;
  check(
    resumed.processes === processes,
    'INVALID_ARGUMENT',
    `--resume: ${folder} is a run of ${processes} ${processes === 1 ? 'process' : 'processes'}, got ${resumed.processes}`,
  );
  return { ...resumed, resume: folder, force: given.force };
}

/**
 * What other flags would change in what a run gives, in words; none where only the way it goes is another.
 *
 * @param stored the flags of the run, as its configuration has them
 */
export function differencesOf(
  experiment: Experiment,
  stored: Configuration['flags'],
  wanted: Configuration['flags'],
): string[] {
  return changesOf(parserOf(experiment), stored, wanted);
}

function changesOf<C extends RunConfiguration>(
  parse: Parser<C>,
  stored: Configuration['flags'],
  wanted: Configuration['flags'],
): string[] {
  const [before, after] = [stored, wanted].map((flags) => withFlags(parse, flags, 'anywhere')) as [C, C];
  const changed = (Object.keys(after) as (keyof C & string)[]).some(
    (key) => !incidental.includes(key) && JSON.stringify(after[key]) !== JSON.stringify(before[key]),
  );
  const told = (flags: Configuration['flags'], flag: string) => flags[flag] ?? 'not given';
  return [...new Set([...Object.keys(wanted), ...Object.keys(stored)])]
    .filter((flag) => changed && stored[flag] !== wanted[flag])
    .map((flag) => `${dashed(flag)} is ${told(stored, flag)} in the run, got ${told(wanted, flag)}`);
}

function withFlags<C>(parse: Parser<C>, flags: Configuration['flags'], folder: string): C {
  return parse([...toWords(flags), `--log_dir=${folder}`]) as C;
}

/**
 * The first line of a run's log.
 *
 * @throws KalmanNormError `FILE_NOT_FOUND`, `FILE_CORRUPT` where there is no log to go on from
 */
export async function storedConfiguration(folder: string): Promise<Configuration> {
  const path = join(folder, logFile);
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new KalmanNormError('FILE_NOT_FOUND', `there is no run in ${folder}: ${error.message}`, {
      cause: error,
    });
  });
  try {
    for await (const line of file.readLines()) {
      const record = JSON.parse(line) as (Configuration & { type: unknown }) | null;
      if (record?.type === 'config' && areFlags(record.flags)) return record;
      break;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  } finally {
    await file.close();
  }
  throw new KalmanNormError('FILE_CORRUPT', `${path} doesn't begin with the configuration of a run`);
}

/** Whether all values can stand on a command line. */
function areFlags(flags: unknown): boolean {
  const isWord = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);
  return typeof flags === 'object' && flags !== null && Object.values(flags).every(isWord);
}
