import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Handle } from '../addon/contract.js';
import { buildCommand, buildFolder, native } from '../addon/load.js';
import { KalmanNormError } from '../errors.js';
import { BaseGroup } from './base-group.js';
import type { ProcessPlace } from './process-environment.js';
import type { Rendezvous } from './rendezvous.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** Begins an exchange; see {@link ProcessGroup.startAllReduce}. `group`: a {@link ProcessGroup}'s `collective`. */
    startAllReduce(args: { tensors: readonly Handle[]; mean: boolean; group: object }): void;
  }
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

/** Why Gloo can't be used, and the remedy; null where it can. @internal */
export function glooProblem(): string | null {
  const addon = loadAddon();
  if (!(addon instanceof Error)) return null;
  const [cause] = addon.message.split('\n');
  return `process groups need Gloo; on Debian: apt-get install libgloo-dev, then ${buildCommand}: ${cause}`;
}

function loadAddon(): GlooAddon | Error {
  try {
    return createRequire(import.meta.url)(ADDON) as GlooAddon;
  } catch (error) {
    return error as Error;
  }
}

/** Calls one after the other: Gloo matches those of different processes by their order. @internal */
export class GlooProcessGroup extends BaseGroup {
  readonly backend = 'gloo';
  readonly device = null;
  readonly collective: object;
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    place: ProcessPlace,
    meeting: Rendezvous,
    private readonly gloo: GlooGroup,
  ) {
    super(place, meeting);
    this.collective = gloo.collective();
  }

  /** @param timeout in seconds */
  static async connect(place: ProcessPlace, meeting: Rendezvous, timeout: number): Promise<GlooProcessGroup> {
    const { GlooGroup } = loadAddon() as GlooAddon;
    const gloo = new GlooGroup(place.rank, place.size, timeout * 1000);
    const group = new GlooProcessGroup(place, meeting, gloo);
    await group.run('connect', () => gloo.connect(meeting.folder));
    return group;
  }

  /** Gloo's own calls have the time-out, on a device's thread, too: there they make the device fail, which knows no ranks. */
  async watch<T>(outcome: Promise<T>): Promise<T> {
    try {
      return await outcome;
    } catch (error) {
      if (error instanceof KalmanNormError && error.code === 'GROUP_FAILED') throw await this.fail('watch', error);
      throw error;
    }
  }

  protected startReduction(tensors: readonly Handle[], mean: boolean): void {
    native.startAllReduce({ tensors, mean, group: this.collective });
  }

  protected run<T>(name: string, start: () => Promise<T>): Promise<T> {
    const result = this.last.then(() => this.guard(name, start));
    this.last = result.catch(() => {});
    return result;
  }

  protected async reduceValues(values: Float32Array, mean: boolean): Promise<void> {
    await this.gloo.allReduce(values);
    if (mean) for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) / this.size;
  }

  protected async broadcastValues(values: Float32Array, root: number): Promise<void> {
    await this.gloo.broadcast(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), root);
  }

  protected async gatherBytes(bytes: Uint8Array): Promise<Uint8Array> {
    const all = new Uint8Array(this.size * bytes.length);
    all.set(bytes, this.rank * bytes.length);
    await this.gloo.allGather(all);
    return all;
  }

  protected async waitForAll(): Promise<void> {
    await this.gloo.barrier();
  }

  protected leave(): void {
    this.gloo.close();
  }

  protected abandon(): void {
    this.gloo.close();
  }
}
