import type { Handle } from '../addon/contract.js';
import { check, KalmanNormError } from '../errors.js';
import { type Device, Tensor } from '../tensor.js';
import type { ProcessGroup, ProcessGroupBackend } from './group.js';
import type { ProcessPlace } from './process-environment.js';
import type { Rendezvous } from './rendezvous.js';

/** What all groups have in common: checks of arguments, and what becomes of a failure. @internal */
export abstract class BaseGroup implements ProcessGroup {
  abstract readonly backend: ProcessGroupBackend;
  abstract readonly device: Device | null;
  readonly rank: number;
  readonly size: number;
  /** Devices with exchanges that aren't joined. */
  private readonly exchanging = new Set<Device>();
  private failed: KalmanNormError | null = null;
  private blaming: Promise<KalmanNormError> | null = null;

  constructor(
    place: ProcessPlace,
    protected readonly meeting: Rendezvous,
  ) {
    this.rank = place.rank;
    this.size = place.size;
  }

  async allReduce(values: Float32Array, operation: 'sum' | 'mean' = 'sum'): Promise<void> {
    checkValues('allReduce', values);
    checkOperation('allReduce', operation);
    await this.run('allReduce', () => this.reduceValues(values, operation === 'mean'));
  }

  async broadcast(values: Float32Array, root = 0): Promise<void> {
    checkValues('broadcast', values);
    check(
      Number.isInteger(root) && root >= 0 && root < this.size,
      'INVALID_ARGUMENT',
      `broadcast: root must be a rank below ${this.size}, got ${root}`,
    );
    await this.run('broadcast', () => this.broadcastValues(values, root));
  }

  async allGather(bytes: Uint8Array): Promise<Uint8Array[]> {
    check(
      bytes instanceof Uint8Array && bytes.length > 0,
      'INVALID_ARGUMENT',
      () => `allGather: bytes must be a Uint8Array that is not empty, got ${String(bytes)}`,
    );
    const all = await this.run('allGather', () => this.gatherBytes(bytes));
    return Array.from({ length: this.size }, (_, i) => all.subarray(i * bytes.length, (i + 1) * bytes.length));
  }

  async barrier(): Promise<void> {
    await this.run('barrier', () => this.waitForAll());
  }

  enqueueAllReduce(tensors: readonly Tensor[], operation: 'sum' | 'mean' = 'sum'): void {
    this.begin('enqueueAllReduce', tensors, operation);
    this.joinAllReduces();
  }

  startAllReduce(tensors: readonly Tensor[], operation: 'sum' | 'mean' = 'sum'): void {
    this.begin('startAllReduce', tensors, operation);
  }

  joinAllReduces(): void {
    for (const device of this.exchanging) device.native.joinExchanges();
    this.exchanging.clear();
  }

  abstract watch<T>(outcome: Promise<T>): Promise<T>;

  close(): void {
    if (this.failed) return;
    this.failed = new KalmanNormError('INVALID_STATE', 'process group: used after it was closed');
    this.leave();
  }

  /** Has a device begin an exchange, of one tensor at least. */
  protected abstract startReduction(tensors: readonly Handle[], mean: boolean): void;
  /** Makes a call, when it is its turn. */
  protected abstract run<T>(name: string, start: () => Promise<T>): Promise<T>;
  protected abstract reduceValues(values: Float32Array, mean: boolean): Promise<void>;
  protected abstract broadcastValues(values: Float32Array, root: number): Promise<void>;
  /** All bytes, by rank. */
  protected abstract gatherBytes(bytes: Uint8Array): Promise<Uint8Array>;
  protected abstract waitForAll(): Promise<void>;
  /** Ends connections that are in order. */
  protected abstract leave(): void;
  /** Ends connections at once, so that whoever still waits for this process needn't wait for its time-out. */
  protected abstract abandon(): void;

  /** Throws where no call can be made any more. */
  protected checkOpen(): void {
    if (this.failed) throw this.failed;
  }

  /** Makes a call at once; what others have brought about becomes `GROUP_FAILED`, mistakes of the caller stay theirs. */
  protected async guard<T>(name: string, start: () => Promise<T>): Promise<T> {
    this.checkOpen();
    try {
      return await start();
    } catch (error) {
      // Of a group that is being given up, calls fail because it is, whatever they say: that it is closed, for one.
      const callers = error instanceof KalmanNormError && error.code !== 'DEVICE_FAILED' && !this.blaming;
      if (callers) throw error;
      throw await this.fail(name, error);
    }
  }

  /** Gives the group up: the first failure is that of all calls from now on. */
  protected async fail(name: string, cause: unknown): Promise<KalmanNormError> {
    if (this.failed) return this.failed;
    this.blaming ??= this.blame(name, cause);
    return this.blaming;
  }

  private begin(name: string, tensors: readonly Tensor[], operation: 'sum' | 'mean'): void {
    check(
      Array.isArray(tensors) && tensors.every((tensor) => tensor instanceof Tensor),
      'INVALID_ARGUMENT',
      `${name}: tensors must be an array of tensors`,
    );
    checkOperation(name, operation);
    this.checkOpen();
    const [first] = tensors as readonly Tensor[];
    if (!first) return;
    try {
      this.startReduction(
        tensors.map(({ handle }) => handle),
        operation === 'mean',
      );
    } catch (error) {
      if (!(error instanceof KalmanNormError) || error.code !== 'DEVICE_FAILED') throw error;
      void this.fail(name, error);
      throw new KalmanNormError('GROUP_FAILED', `${name}: ${error.message}; this is rank ${this.rank}`, {
        cause: error,
      });
    }
    this.exchanging.add(first.device);
  }

  private async blame(name: string, cause: unknown): Promise<KalmanNormError> {
    this.abandon();
    const blamed = await this.meeting.blame(cause instanceof KalmanNormError ? cause.message : '');
    this.failed = new KalmanNormError('GROUP_FAILED', `${name}: ${blamed}; this is rank ${this.rank}`, { cause });
    return this.failed;
  }
}

function checkOperation(name: string, operation: unknown): void {
  check(
    operation === 'sum' || operation === 'mean',
    'INVALID_ARGUMENT',
    () => `${name}: operation must be sum or mean, got ${String(operation)}`,
  );
}

function checkValues(name: string, values: unknown): void {
  check(
    values instanceof Float32Array && values.length > 0,
    'INVALID_ARGUMENT',
    () => `${name}: values must be a Float32Array that is not empty, got ${String(values)}`,
  );
}
