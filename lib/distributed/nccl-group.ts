import { setTimeout as sleep } from 'node:timers/promises';
import type { Handle, TensorData } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { ncclLibrary } from '../cuda.js';
import { KalmanNormError } from '../errors.js';
import { noScope } from '../scope.js';
import type { Device, Tensor } from '../tensor.js';
import { BaseGroup } from './base-group.js';
import type { ProcessPlace } from './process-environment.js';
import type { Rendezvous } from './rendezvous.js';

/** One process's end of a group of CUDA devices; see native/distributed/nccl. */
interface NativeCommunicator {
  /** Whether all have come; throws what NCCL has noticed since. */
  ready(): boolean;
  startAllReduce(tensors: readonly Handle[], mean: boolean): void;
  broadcast(tensor: Handle, root: number): void;
  allGather(from: Handle, to: Handle): void;
  /** Waits for what is enqueued, in a thread of its own. */
  close(): void;
  /** Lets go what waits on the stream. */
  abort(): void;
}

declare module '../addon/contract.js' {
  interface Operations {
    /** `library`: path, or name where it is looked for. Throws `DEVICE_UNAVAILABLE`, saying what is missing. */
    ncclVersion(args: { library: string }): string;
    /** What rank 0 makes and all others need. */
    ncclUniqueId(args: { library: string }): Uint8Array;
    connectNccl(args: {
      device: NativeDevice;
      library: string;
      id: Uint8Array;
      rank: number;
      size: number;
      milliseconds: number;
    }): NativeCommunicator;
  }
}

/** Milliseconds between two looks at those who are waited for. */
const LOOK_INTERVAL = 100;
/** The same while they connect. */
const CONNECT_INTERVAL = 2;

/** Why NCCL can't be used with a device, and the remedy; null where it can. @internal */
export function ncclProblem(device: Device): string | null {
  try {
    native.ncclVersion({ library: ncclLibrary(device.name) });
    return null;
  } catch (error) {
    if (!(error instanceof KalmanNormError) || error.code !== 'DEVICE_UNAVAILABLE') throw error;
    return error.message;
  }
}

/**
 * Calls are enqueued on the device's stream as they come; whoever waits for them looks from time to time at NCCL, the other
 * processes and the clock. @internal
 */
export class NcclProcessGroup extends BaseGroup {
  readonly backend = 'nccl';

  private constructor(
    place: ProcessPlace,
    meeting: Rendezvous,
    readonly device: Device,
    private readonly communicator: NativeCommunicator,
    private readonly timeout: number,
  ) {
    super(place, meeting);
  }

  /** @param timeout in seconds */
  static async connect(
    place: ProcessPlace,
    meeting: Rendezvous,
    timeout: number,
    device: Device,
  ): Promise<NcclProcessGroup> {
    const library = ncclLibrary(device.name);
    const own = place.rank === 0 ? Buffer.from(native.ncclUniqueId({ library })).toString('hex') : null;
    const id = new Uint8Array(Buffer.from(await meeting.hand('nccl', own, timeout), 'hex'));
    const milliseconds = Math.min(Math.ceil(timeout * 1000), 2 ** 31 - 1);
    const communicator = native.connectNccl({ device: device.native, library, id, ...place, milliseconds });
    const group = new NcclProcessGroup(place, meeting, device, communicator, timeout);
    await group.guard('connect', () => group.supervise(group.connected()));
    return group;
  }

  watch<T>(outcome: Promise<T>): Promise<T> {
    return this.guard('watch', () => this.supervise(outcome));
  }

  protected startReduction(tensors: readonly Handle[], mean: boolean): void {
    this.communicator.startAllReduce(tensors, mean);
  }

  /** At once: its place among the calls is that on the stream. */
  protected run<T>(name: string, start: () => Promise<T>): Promise<T> {
    return this.guard(name, start);
  }

  protected async reduceValues(values: Float32Array, mean: boolean): Promise<void> {
    values.set(
      await this.through(values, (tensor) => {
        this.communicator.startAllReduce([tensor.handle], mean);
        this.device.native.joinExchanges();
      }),
    );
  }

  protected async broadcastValues(values: Float32Array, root: number): Promise<void> {
    values.set(await this.through(values, (tensor) => this.communicator.broadcast(tensor.handle, root)));
  }

  protected async gatherBytes(bytes: Uint8Array): Promise<Uint8Array> {
    const shape = [this.size * bytes.length];
    const all = noScope(() => this.device.zeros(shape, { dtype: 'uint8' }));
    try {
      return (await this.through(
        bytes,
        (tensor) => this.communicator.allGather(tensor.handle, all.handle),
        all,
      )) as Uint8Array;
    } finally {
      all.dispose();
    }
  }

  protected waitForAll(): Promise<void> {
    return this.reduceValues(new Float32Array(1), false);
  }

  /** NCCL must not be left while others still need this process's part. */
  protected leave(): void {
    this.meeting.leave();
    if (this.device.disposed) {
      this.communicator.abort();
      return;
    }
    this.supervise(this.device.synchronize()).then(
      () => this.communicator.close(),
      () => this.communicator.abort(),
    );
  }

  protected abandon(): void {
    this.communicator.abort();
  }

  /** Values of the host, by way of the device. */
  private async through<T extends TensorData>(
    values: T,
    enqueue: (tensor: Tensor) => void,
    result?: Tensor,
  ): Promise<TensorData> {
    const tensor = noScope(() => this.device.tensor(values));
    try {
      enqueue(tensor);
      return await this.supervise((result ?? tensor).data());
    } finally {
      tensor.dispose();
    }
  }

  private async connected(): Promise<void> {
    while (!this.communicator.ready()) await sleep(CONNECT_INTERVAL);
  }

  /** An outcome, unless it can't be hoped for any more. */
  private supervise<T>(outcome: Promise<T>): Promise<T> {
    const end = performance.now() + this.timeout * 1000;
    return new Promise((resolve, reject) => {
      const look = () => {
        try {
          this.communicator.ready();
          if (this.meeting.isBroken()) throw new Error('another process has failed or ended');
          if (performance.now() > end) throw new Error(`nothing has come for ${this.timeout} s`);
        } catch (error) {
          clearInterval(timer);
          reject(error);
        }
      };
      const timer = setInterval(look, LOOK_INTERVAL);
      outcome
        .then((value) => {
          // NCCL may have failed since the last look, and the value be none.
          this.communicator.ready();
          resolve(value);
        })
        .catch(reject)
        .finally(() => clearInterval(timer));
    });
  }
}
