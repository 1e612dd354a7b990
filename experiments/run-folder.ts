import { appendFile, readFile, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { check, KalmanNormError } from '../lib/errors.js';
import { writeFileAtomic } from '../lib/io/atomic-file.js';
import { claimFile, isRunning } from '../lib/io/claim.js';
import { makeFolder } from '../lib/io/make-folder.js';
import { logFile } from './report/log.js';

const lockFile = 'run.lock';

/** The environment variable by which a sweep tells its runs its process number. */
export const sweepVariable = 'KN_SWEEP_PID';

/** What a lock says of the process that holds it. */
interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process began, as the system counts it; tells it from a later one of the same number. */
  readonly began: string | null;
}

/** Where a run in a folder has its checkpoints. */
export function checkpointsOf(folder: string): string {
  return join(resolve(folder), 'checkpoints');
}

/** The folder of a run, which this process alone writes into until {@link RunFolder.release}. */
export class RunFolder {
  readonly checkpoints: string;
  readonly last: string;
  readonly best: string;
  private readonly log: string;

  private constructor(readonly path: string) {
    this.checkpoints = checkpointsOf(path);
    this.last = join(path, 'model.safetensors');
    this.best = join(path, 'best.safetensors');
    this.log = join(path, logFile);
  }

  /**
   * Makes the folder of a new run. An earlier run in it is moved aside, as nothing may be lost, or deleted where that is
   * wanted; one that is being written is refused.
   *
   * @param options.onMove told where an earlier run went
   * @throws KalmanNormError `INVALID_ARGUMENT` where the folder can't be used; `INVALID_STATE` where a process writes into it
   */
  static async create(
    name: string,
    options: { overwrite?: boolean; onMove?: (from: string, to: string) => void } = {},
  ): Promise<RunFolder> {
    // Without a slash at the end, "." and "..": the number belongs to the name.
    const path = resolve(name);
    refuseOrphan();
    await usable(path, async () => {
      if (!(await exists(join(path, logFile)))) return makeFolder('--log_dir', path);
      await refuseOwned(path);
      const holdsUs = !relative(path, process.cwd()).startsWith('..');
      check(
        !holdsUs,
        'INVALID_ARGUMENT',
        `--log_dir: there is a run in ${path}, which can't be moved aside while you are in it; name another folder`,
      );
      if (options.overwrite) await rm(path, { recursive: true });
      else {
        let number = 1;
        while (await exists(`${path}.${number}`)) number++;
        await rename(path, `${path}.${number}`);
        options.onMove?.(path, `${path}.${number}`);
      }
      return makeFolder('--log_dir', path);
    });
    return RunFolder.locked(path);
  }

  /**
   * Takes the folder of a run that was stopped.
   *
   * @throws KalmanNormError `FILE_NOT_FOUND` where there is no run; `INVALID_STATE` where a process writes into it
   */
  static async reopen(name: string): Promise<RunFolder> {
    const path = resolve(name);
    check(await exists(join(path, logFile)), 'FILE_NOT_FOUND', `--resume: there is no run in ${path}`);
    return RunFolder.locked(path);
  }

  /** Starts the log of a new run. It appears with its first line: a run that is killed before has none, not an empty one. */
  async begin(configuration: object): Promise<void> {
    await writeFileAtomic(this.log, `${JSON.stringify(configuration)}\n`);
  }

  /** Appends an entry to the log. */
  async write(entry: object): Promise<void> {
    await appendFile(this.log, `${JSON.stringify(entry)}\n`);
  }

  /** Cuts the log to the configuration and the epochs up to one, as if the run had been stopped there. */
  async rewind(epoch: number): Promise<void> {
    const lines = (await readFile(this.log, 'utf8')).split('\n');
    const kept = lines.filter((line, i) => {
      try {
        const record = JSON.parse(line) as { type: string; epoch?: number };
        return i === 0 || (record.type !== 'end' && (record.epoch ?? 0) <= epoch);
      } catch {
        // The last line of a run that was killed while it wrote, or the empty one behind it.
        return false;
      }
    });
    await writeFileAtomic(this.log, kept.map((line) => `${line}\n`).join(''));
  }

  /** Lets other processes have the folder. */
  async release(): Promise<void> {
    await unlockFolder(this.path);
  }

  private static async locked(path: string): Promise<RunFolder> {
    refuseOrphan();
    await usable(path, () => lockFolder(path));
    try {
      refuseOrphan();
    } catch (error) {
      await unlockFolder(path);
      throw error;
    }
    return new RunFolder(path);
  }
}

/**
 * Refuses a run whose sweep was killed before the run had its folder: the sweep that goes on can't see it, and starts it
 * anew. A run that has its folder outlives its sweep.
 */
function refuseOrphan(): void {
  const sweep = process.env[sweepVariable];
  check(
    sweep === undefined || Number(sweep) === process.ppid,
    'INVALID_STATE',
    () => `the sweep that started this run, process ${sweep}, has ended`,
  );
}

/**
 * Keeps other processes out of a folder until {@link unlockFolder}, or the end of this process.
 *
 * @throws KalmanNormError `INVALID_STATE` where a process has it; failures of the operating system pass through
 */
export async function lockFolder(path: string): Promise<void> {
  const owner: Owner = { pid: process.pid, host: hostname(), began: await beginning(process.pid) };
  for (;;) {
    await refuseOwned(path);
    try {
      await claimFile(join(path, lockFile), JSON.stringify(owner));
      return;
    } catch (error) {
      // Another process was faster: look who it is.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

/** Lets other processes have a folder that this one has locked. */
export async function unlockFolder(path: string): Promise<void> {
  await rm(join(path, lockFile), { force: true });
}

/** Whether a living process writes into a folder. */
export async function isInUse(path: string): Promise<boolean> {
  const text = await readFile(join(path, lockFile), 'utf8').catch(() => null);
  const owner = text === null ? null : ownerOf(text);
  return owner !== null && isAlive(owner);
}

/** Refuses a folder whose lock is held by a living process; removes the lock of one that is gone. */
async function refuseOwned(path: string): Promise<void> {
  const lock = join(path, lockFile);
  const text = await readFile(lock, 'utf8').catch(() => null);
  if (text === null) return;
  const owner = ownerOf(text);
  check(
    owner === null || !(await isAlive(owner)),
    'INVALID_STATE',
    () => `${path} is in use by process ${owner?.pid} on ${owner?.host}; end it, or name another folder`,
  );
  await rm(lock, { force: true });
}

/** Null for what no process wrote. */
function ownerOf(text: string): Owner | null {
  try {
    return JSON.parse(text) as Owner;
  } catch {
    return null;
  }
}

async function isAlive({ pid, host, began }: Owner): Promise<boolean> {
  // Of another machine nothing can be known.
  if (host !== hostname()) return true;
  if (!isRunning(pid)) return false;
  return began === null || (await beginning(pid)) === began;
}

/** When a process began, in the system's ticks; null where the system doesn't say. */
async function beginning(pid: number): Promise<string | null> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  // The name in parentheses may hold anything; the twentieth field behind it is the time.
  return line?.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function usable<T>(path: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof KalmanNormError) throw error;
    const { message } = error as Error;
    throw new KalmanNormError('INVALID_ARGUMENT', `--log_dir: ${path} can't be used: ${message}`, { cause: error });
  }
}
