import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildFolder } from '../addon/load.js';
import { checkObjects } from '../arguments.js';
import { check, KalmanNormError } from '../errors.js';
import { type ProcessPlace, processPlace } from './process-environment.js';
import { Rendezvous } from './rendezvous.js';

/**
 * Processes that compute together. All of them must make the same calls in the same order. A call that fails, because a
 * process ended, hung or didn't fit, fails in all of them within the time-out, with `GROUP_FAILED`; the group is of no use
 * from then on.
 */
export interface ProcessGroup extends ProcessPlace {
  /** Overwrites values with their sum or mean over all processes, the same bits in each. All have the same number. */
  allReduce(values: Float32Array, operation?: 'sum' | 'mean'): Promise<void>;
  /** Overwrites values with those of one process; default that of rank 0. */
  broadcast(values: Float32Array, root?: number): Promise<void>;
  /** The bytes of all processes, by rank. All give the same number. */
  allGather(bytes: Uint8Array): Promise<Uint8Array[]>;
  /** Waits until all processes have come here. */
  barrier(): Promise<void>;
  /** Ends the connections: calls that wait, here and elsewhere, fail. A second call does nothing. */
  close(): void;
  /** What operations take that exchange values within a device's stream, such as {@link SyncBatchNorm2d}'s. @internal */
  readonly collective?: object;
  /**
   * The group's failure, where an exchange within a device's stream failed: ends the connections, and names who is to be
   * blamed. @internal
   */
  failed?(cause: unknown): Promise<KalmanNormError>;
}

/** Options of {@link openProcessGroup}. */
export interface ProcessGroupOptions {
  /** Default: what the launcher says; see {@link processPlace}. */
  place?: ProcessPlace;
  /** A folder that is new for each run, and that all processes see; default: `KALMAN_NORM_RENDEZVOUS`, by the launcher. */
  rendezvous?: string;
  /** Seconds until whoever doesn't come or answer counts as hung; default 60. */
  timeout?: number;
  /** Whatever has to be the same in all processes, such as their flags; default: nothing. */
  configuration?: string;
}

/** What native/distributed/gloo.cpp exports. */
interface GlooGroup {
  connect(folder: string): Promise<unknown>;
  allReduce(values: Float32Array): Promise<unknown>;
  broadcast(bytes: Uint8Array, root: number): Promise<unknown>;
  allGather(all: Uint8Array): Promise<unknown>;
  barrier(): Promise<unknown>;
  close(): void;
  collective(): object;
}
type GlooAddon = { GlooGroup: new (rank: number, size: number, milliseconds: number) => GlooGroup };

const ADDON = join(buildFolder, 'kalman_norm_gloo.node');

/** Why no process group can be opened here, and the remedy; null where one can. */
export function processGroupProblem(): string | null {
  const addon = loadAddon();
  return addon instanceof Error
    ? `process groups need Gloo (on Debian: apt-get install libgloo-dev, then build the addon anew): ${addon.message.split('\n')[0]}`
    : null;
}

function loadAddon(): GlooAddon | Error {
  try {
    return createRequire(import.meta.url)(ADDON) as GlooAddon;
  } catch (error) {
    return error as Error;
  }
}

/**
 * Joins the group of processes that a launcher started, over Gloo; resolves when all have come. Connections don't leave the
 * machine: Gloo's have no password.
 *
 * @throws KalmanNormError `INVALID_ARGUMENT` for options outside their domain, or without a launcher; `DEVICE_UNAVAILABLE`
 *   where Gloo isn't built; `GROUP_FAILED` naming the ranks that are taken, missing, or of another configuration
 *
 * @example
 * // npx kalman-norm launch --processes 2 train.ts
 * const group = await openProcessGroup();
 * const trainer = new Trainer({ device, model, optimizer, dataset, batchSize: 128, group });
 */
export async function openProcessGroup(options: ProcessGroupOptions = {}): Promise<ProcessGroup> {
  checkObjects('openProcessGroup', { options });
  const place = options.place ?? processPlace();
  const { rendezvous = process.env.KALMAN_NORM_RENDEZVOUS, timeout = 60, configuration = '' } = options;
  check(
    place !== null,
    'INVALID_ARGUMENT',
    'openProcessGroup: no launcher gave a rank: start with "npx kalman-norm launch --processes N", or give options.place',
  );
  const { rank, size } = place;
  check(
    Number.isInteger(rank) && Number.isInteger(size) && rank >= 0 && rank < size,
    'INVALID_ARGUMENT',
    `openProcessGroup: rank must be a whole number below the number of processes, got ${rank} of ${size}`,
  );
  check(
    Number.isFinite(timeout) && timeout > 0,
    'INVALID_ARGUMENT',
    `openProcessGroup: timeout must be a positive number of seconds, got ${timeout}`,
  );
  check(
    typeof rendezvous === 'string' && rendezvous !== '',
    'INVALID_ARGUMENT',
    'openProcessGroup: rendezvous must be a folder, new for each run; or set KALMAN_NORM_RENDEZVOUS',
  );
  const problem = processGroupProblem();
  check(problem === null, 'DEVICE_UNAVAILABLE', `openProcessGroup: ${problem}`);
  endWithLauncher();
  const meeting = new Rendezvous(rendezvous, { rank, size });
  await meeting.meet(configuration, timeout);
  const { GlooGroup } = loadAddon() as GlooAddon;
  const group = new GlooProcessGroup({ rank, size }, new GlooGroup(rank, size, timeout * 1000), meeting);
  await group.connect();
  return group;
}

/** No process outlives its launcher, whose channel closes however it ends. */
function endWithLauncher(): void {
  if (!process.channel || process.env.KALMAN_NORM_RANK === undefined) return;
  process.once('disconnect', () => process.exit(1));
  // Which would keep the process alive.
  process.channel.unref();
}

/** Calls one after the other: Gloo matches those of different processes by their order. */
class GlooProcessGroup implements ProcessGroup {
  readonly rank: number;
  readonly size: number;
  readonly collective: object;
  private last: Promise<unknown> = Promise.resolve();
  private failure: KalmanNormError | null = null;

  constructor(
    place: ProcessPlace,
    private readonly gloo: GlooGroup,
    private readonly meeting: Rendezvous,
  ) {
    this.rank = place.rank;
    this.size = place.size;
    this.collective = gloo.collective();
  }

  async connect(): Promise<void> {
    await this.enqueue('connect', () => this.gloo.connect(this.meeting.folder));
  }

  async allReduce(values: Float32Array, operation: 'sum' | 'mean' = 'sum'): Promise<void> {
    check(
      values instanceof Float32Array && values.length > 0,
      'INVALID_ARGUMENT',
      () => `allReduce: values must be a Float32Array that is not empty, got ${String(values)}`,
    );
    check(
      operation === 'sum' || operation === 'mean',
      'INVALID_ARGUMENT',
      () => `allReduce: operation must be sum or mean, got ${String(operation)}`,
    );
    await this.enqueue('allReduce', () => this.gloo.allReduce(values));
    if (operation === 'mean') for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) / this.size;
  }

  async broadcast(values: Float32Array, root = 0): Promise<void> {
    check(
      values instanceof Float32Array && values.length > 0,
      'INVALID_ARGUMENT',
      () => `broadcast: values must be a Float32Array that is not empty, got ${String(values)}`,
    );
    check(
      Number.isInteger(root) && root >= 0 && root < this.size,
      'INVALID_ARGUMENT',
      `broadcast: root must be a rank below ${this.size}, got ${root}`,
    );
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    await this.enqueue('broadcast', () => this.gloo.broadcast(bytes, root));
  }

  async allGather(bytes: Uint8Array): Promise<Uint8Array[]> {
    check(
      bytes instanceof Uint8Array && bytes.length > 0,
      'INVALID_ARGUMENT',
      () => `allGather: bytes must be a Uint8Array that is not empty, got ${String(bytes)}`,
    );
    const all = new Uint8Array(this.size * bytes.length);
    all.set(bytes, this.rank * bytes.length);
    await this.enqueue('allGather', () => this.gloo.allGather(all));
    return Array.from({ length: this.size }, (_, i) => all.subarray(i * bytes.length, (i + 1) * bytes.length));
  }

  async barrier(): Promise<void> {
    await this.enqueue('barrier', () => this.gloo.barrier());
  }

  close(): void {
    if (this.failure) return;
    this.failure = new KalmanNormError('INVALID_STATE', 'process group: used after it was closed');
    this.gloo.close();
  }

  failed(cause: unknown): Promise<KalmanNormError> {
    return this.fail('a device', cause);
  }

  /** Ends the group, for a reason that others may know better. */
  private async fail(name: string, cause: unknown): Promise<KalmanNormError> {
    if (this.failure) return this.failure;
    // Whoever still waits for this process needn't wait for its time-out.
    this.gloo.close();
    const blamed = await this.meeting.blame();
    this.failure ??= new KalmanNormError('GROUP_FAILED', `${name}: ${blamed}; this is rank ${this.rank}`, { cause });
    return this.failure;
  }

  private enqueue(name: string, start: () => Promise<unknown>): Promise<unknown> {
    const result = this.last.then(async () => {
      if (this.failure) throw this.failure;
      try {
        await start();
      } catch (error) {
        throw await this.fail(name, error);
      }
    });
    this.last = result.catch(() => {});
    return result;
  }
}
