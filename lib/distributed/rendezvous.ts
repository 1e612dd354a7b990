import { existsSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KalmanNormError } from '../errors.js';
import { claimFile, isRunning } from '../io/claim.js';
import { makeFolder } from '../io/make-folder.js';
import type { ProcessPlace } from './process-environment.js';

/** What a process tells the others of itself. */
interface Claim {
  size: number;
  host: string;
  process: number;
  node: string;
  backend: string;
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
   * @param same texts that must be the same in all
   * @param timeout in seconds
   * @throws KalmanNormError `GROUP_FAILED` naming the ranks that are taken, missing or don't fit, on every rank
   */
  async meet(same: Pick<Claim, 'backend' | 'configuration'>, timeout: number): Promise<void> {
    const { rank, size } = this.place;
    await makeFolder('openProcessGroup: rendezvous', this.folder, 0o700);
    const own: Claim = { size, host: hostname(), process: process.pid, node: process.version, ...same };
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

  /**
   * Hands a text from rank 0 to all others.
   *
   * @param name what it is
   * @param own rank 0's; others give null
   * @param timeout in seconds
   * @throws KalmanNormError `GROUP_FAILED` where rank 0 gives none
   */
  async hand(name: string, own: string | null, timeout: number): Promise<string> {
    const file = this.file(name, 0);
    if (own !== null) await claimFile(file, own, { mode: 0o600 });
    const end = performance.now() + timeout * 1000;
    for (;;) {
      const text = own ?? (await readIfThere(file));
      if (text !== null) return text;
      if (performance.now() > end) throw failure(`rank 0 gave nothing for ${name} within ${timeout} s`);
      await sleep(LOOK_INTERVAL);
    }
  }

  /** Whether another process has seen a failure, or has ended without leaving: it answers no more. */
  isBroken(): boolean {
    return this.claims.some(
      ({ process }, rank) =>
        rank !== this.place.rank && (this.has('failed', rank) || (!isRunning(process) && !this.has('left', rank))),
    );
  }

  /** That this process goes in good order. */
  leave(): void {
    // Where the folder is gone, so are those who would look.
    if (existsSync(this.folder)) writeFileSync(this.file('left', this.place.rank), '');
  }

  /**
   * Whom a failed connection is to be blamed on; to be asked by every process that sees it fail.
   *
   * @param reason this process's own, if it has one
   */
  async blame(reason = ''): Promise<string> {
    // Whoever saw it fail isn't the cause, and may end before the others look.
    await writeFile(this.file('failed', this.place.rank), reason).catch(() => {});
    const end = performance.now() + AFTERMATH;
    for (;;) {
      const silent = [...this.claims.keys()].filter((rank) => rank !== this.place.rank && !this.has('failed', rank));
      const gone = silent.filter((rank) => !isRunning((this.claims[rank] as Claim).process));
      if (gone.length > 0) return `${ranks(gone)} ended early`;
      if (silent.length === 0) return this.reasons(reason);
      if (performance.now() > end) return `${ranks(silent)} did not answer in time`;
      await sleep(LOOK_INTERVAL);
    }
  }

  /** Of a failure that all have seen. */
  private async reasons(own: string): Promise<string> {
    for (const rank of this.claims.keys()) {
      const reason = rank === this.place.rank ? own : await readIfThere(this.file('failed', rank));
      if (reason) return `rank ${rank} failed with "${reason}"`;
    }
    return 'the connection failed';
  }

  private has(kind: string, rank: number): boolean {
    return existsSync(this.file(kind, rank));
  }

  private file(kind: string, rank: number): string {
    return join(this.folder, `${kind}-${rank}`);
  }

  private async read(rank: number): Promise<Claim | null> {
    const text = await readIfThere(this.file('rank', rank));
    return text === null ? null : (JSON.parse(text) as Claim);
  }
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return null;
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
    ['backend', 'backend'],
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
