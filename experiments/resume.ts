import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { check, KalmanNormError } from '../lib/errors.js';
import { dashed } from './flags.js';
import { type Configuration, type Experiment, parseOptions } from './options.js';
import { logFile } from './report/log.js';

/** Fields of a configuration that say how a run goes, not what it gives. */
const incidental = new Set<keyof Configuration>(['flags', 'resume', 'force', 'overwrite', 'checkpointEvery', 'keep']);

/**
 * The configuration of a command line; with `--resume` that of the run, which flags may repeat but not change.
 *
 * @returns null where help was asked for
 * @throws KalmanNormError as {@link parseOptions}; `INVALID_ARGUMENT` where the run is another experiment's, or flags would
 *   change what it gives and there is no `--force`; `FILE_NOT_FOUND`, `FILE_CORRUPT` where there is no log to go on from
 */
export async function configurationOf(experiment: Experiment, args: readonly string[]): Promise<Configuration | null> {
  const given = parseOptions(experiment, args);
  if (!given?.resume) return given;
  const folder = resolve(given.resume);
  const stored = await storedConfiguration(folder);
  check(
    stored.name === experiment.name,
    'INVALID_ARGUMENT',
    `--resume: ${folder} is a run of ${stored.name}, got ${experiment.name}`,
  );
  const withFlags = (flags: Configuration['flags']) => {
    const words = Object.entries(flags).map(([flag, value]) => (value === true ? `--${flag}` : `--${flag}=${value}`));
    return parseOptions(experiment, [...words, `--log_dir=${folder}`]) as Configuration;
  };
  const before = withFlags(stored.flags);
  const after = withFlags({ ...stored.flags, ...given.flags });
  const changed = (Object.keys(after) as (keyof Configuration)[]).filter(
    (key) => !incidental.has(key) && JSON.stringify(after[key]) !== JSON.stringify(before[key]),
  );
  const differences = Object.entries(given.flags)
    .filter(([flag, value]) => stored.flags[flag] !== value)
    .map(([flag, value]) => `${dashed(flag)} is ${stored.flags[flag] ?? 'not given'} in the run, got ${value}`);
  check(
    changed.length === 0 || given.force,
    'INVALID_ARGUMENT',
    () => `--resume: ${differences.join('; ')}. --force goes on all the same`,
  );
  return { ...after, resume: folder, force: given.force };
}

/** The first line of a run's log. */
async function storedConfiguration(folder: string): Promise<Configuration> {
  const path = join(folder, logFile);
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw new KalmanNormError('FILE_NOT_FOUND', `--resume: there is no run in ${folder}: ${error.message}`, {
      cause: error,
    });
  });
  try {
    for await (const line of file.readLines()) {
      const record = JSON.parse(line) as Configuration & { type: unknown };
      if (record.type === 'config' && typeof record.flags === 'object') return record;
      break;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  } finally {
    await file.close();
  }
  throw new KalmanNormError('FILE_CORRUPT', `--resume: ${path} doesn't begin with a configuration that can be resumed`);
}
