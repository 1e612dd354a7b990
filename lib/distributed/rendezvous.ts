import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KalmanNormError } from '../errors.js';
import { claimFile, isRunning } from '../io/claim.js';
import type { ProcessPlace } from './process-environment.js';

/** What a process tells the others of itself. */
interface Claim {
  size: number;
  host: string;
  process: number;
  node: string;
  configuration: string;
}

/** Milliseconds between two looks at the folder. */
const LOOK_INTERVAL = 20;
/** Milliseconds that others have to notice a failure, and the system to forget a process. */
const AFTERMATH = 2000;

/**
 * A folder in which the processes of a group meet: each leaves a file with what it is, before any connection is made, so that
 * whoever is missing or doesn't fit can be named, and whoever is gone later on.
 *
 * @internal
 */
export class Rendezvous {
  private readonly claims: Claim[] = [];

  constructor(
    readonly folder: string,
    private readonly place: ProcessPlace,
  ) {}

  /**
   * Waits for all others.
   *
   * @param configuration must be the same text in all
   * @param timeout in seconds
   * @throws KalmanNormError `GROUP_FAILED` naming the ranks that are taken, missing or don't fit, on every rank
   */
  async meet(configuration: string, timeout: number): Promise<void> {
    const { rank, size } = this.place;
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const own: Claim = { size, host: hostname(), process: process.pid, node: process.version, configuration };
    try {
      await claimFile(this.file('rank', rank), JSON.stringify(own), { mode: 0o600 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      throw failure(`rank ${rank} is taken already; each run needs a folder of its own, got ${this.folder}`, error);
    }
    const end = performance.now() + timeout * 1000;
    for (;;) {
      const present = await Promise.all(Array.from({ length: size }, (_, other) => this.read(other)));
      for (const [other, claim] of present.entries()) if (claim) compare(rank, own, other, claim);
      const missing = present.flatMap((claim, other) => (claim ? [] : [other]));
      if (missing.length === 0) {
        this.claims.push(...(present as Claim[]));
        return;
      }
      if (performance.now() > end) throw failure(`${ranks(missing)} did not come within ${timeout} s`);
      await sleep(LOOK_INTERVAL);
    }
  }

  /** Whom a failed connection is to be blamed on; to be asked by every process that sees it fail. */
  async blame(): Promise<string> {
    // Whoever saw it fail isn't the cause, and may end before the others look.
    await writeFile(this.file('failed', this.place.rank), '').catch(() => {});
    const end = performance.now() + AFTERMATH;
    for (;;) {
      const silent: number[] = [];
      for (const rank of this.claims.keys()) if (!(await this.sawFailure(rank))) silent.push(rank);
      const gone = silent.filter((rank) => !isRunning((this.claims[rank] as Claim).process));
      if (gone.length > 0) return `${ranks(gone)} ended early`;
      if (silent.length === 0) return 'the connection failed';
      if (performance.now() > end) return `${ranks(silent)} did not answer in time`;
      await sleep(LOOK_INTERVAL);
    }
  }

  private async sawFailure(rank: number): Promise<boolean> {
    const found = await access(this.file('failed', rank)).then(
      () => true,
      () => false,
    );
    return found || rank === this.place.rank;
  }

  private file(kind: string, rank: number): string {
    return join(this.folder, `${kind}-${rank}`);
  }

  private async read(rank: number): Promise<Claim | null> {
    try {
      return JSON.parse(await readFile(this.file('rank', rank), 'utf8')) as Claim;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return null;
    }
  }
}

/** Every process makes every comparison with itself, so that all of them refuse. */
function compare(rank: number, own: Claim, other: number, claim: Claim): void {
  if (claim.host !== own.host) {
    throw failure(
      `rank ${other} is on ${claim.host} and rank ${rank} on ${own.host}: connections have no password, so all processes ` +
        'must be on one machine',
    );
  }
  for (const [key, what] of [
    ['size', 'number of processes'],
    ['node', 'version of Node'],
    ['configuration', 'configuration'],
  ] as const) {
    if (claim[key] !== own[key]) {
      throw failure(`rank ${other} has another ${what} than rank ${rank}: ${claim[key]}, not ${own[key]}`);
    }
  }
}

function ranks(list: readonly number[]): string {
  return `${list.length === 1 ? 'rank' : 'ranks'} ${list.join(', ')}`;
}

function failure(message: string, cause?: unknown): KalmanNormError {
  return new KalmanNormError('GROUP_FAILED', `process group: ${message}`, { cause });
}
