import type { Device, Tensor } from '../tensor.js';
import type { ProcessPlace } from './process-environment.js';

/** What the processes of a group talk over: Gloo from memory of the host, NCCL between GPUs. */
export type ProcessGroupBackend = 'gloo' | 'nccl';

/**
 * Processes that compute together. All of them must make the same calls in the same order. A call that fails, because a
 * process ended, hung or didn't fit, fails in all of them within the time-out, with `GROUP_FAILED`; the group is of no use
 * from then on.
 */
export interface ProcessGroup extends ProcessPlace {
  readonly backend: ProcessGroupBackend;
  /** Whose tensors {@link ProcessGroup.enqueueAllReduce} takes; null with Gloo, which takes those of any. */
  readonly device: Device | null;
  /** Overwrites values with their sum or mean over all processes, the same bits in each. All have the same number. */
  allReduce(values: Float32Array, operation?: 'sum' | 'mean'): Promise<void>;
  /** Overwrites values with those of one process; default that of rank 0. */
  broadcast(values: Float32Array, root?: number): Promise<void>;
  /** The bytes of all processes, by rank. All give the same number. */
  allGather(bytes: Uint8Array): Promise<Uint8Array[]>;
  /** Waits until all processes have come here. */
  barrier(): Promise<void>;
  /**
   * Overwrites float32 tensors of {@link ProcessGroup.device} with their sums or means over all processes, which have tensors
   * of the same shapes. It is enqueued like an operation, and {@link Device.record} records it; with NCCL nothing goes by way
   * of the host. Read results through {@link ProcessGroup.watch}, so that nobody waits for a process that is gone. The first
   * call may wait for the others' while NCCL connects.
   *
   * @param operation default `sum`
   * @throws KalmanNormError `DTYPE_MISMATCH`, `DEVICE_MISMATCH` for other tensors; `GROUP_FAILED` where NCCL refuses
   */
  enqueueAllReduce(tensors: readonly Tensor[], operation?: 'sum' | 'mean'): void;
  /**
   * As {@link ProcessGroup.enqueueAllReduce}, but beside the device's stream: it begins when what was enqueued before has run,
   * and what is enqueued later runs meanwhile, up to {@link ProcessGroup.joinAllReduces}. Until then nothing may use the
   * tensors' memory. Those that were started run one after the other.
   *
   * @example
   * group.startAllReduce([gradient], 'mean');
   * const y = conv2d(x, weight); // needn't wait
   * group.joinAllReduces();
   * optimizer.step();
   */
  startAllReduce(tensors: readonly Tensor[], operation?: 'sum' | 'mean'): void;
  /** Whatever is enqueued from now on finds the results of all that {@link ProcessGroup.startAllReduce} began. */
  joinAllReduces(): void;
  /**
   * The outcome of work that may wait for other processes, such as a read of what {@link ProcessGroup.enqueueAllReduce}
   * wrote.
   *
   * @throws KalmanNormError `GROUP_FAILED`, naming the rank, where one of them ended or failed, or the time-out is over
   */
  watch<T>(outcome: Promise<T>): Promise<T>;
  /** What operations take that exchange values within a device's stream over Gloo; NCCL needs none. @internal */
  readonly collective?: object;
  /** Ends the connections: calls that wait, here and elsewhere, fail. A second call does nothing. */
  close(): void;
}
