import { availableParallelism } from 'node:os';
import { findGpus, openCuda } from './cuda.js';
import { callSynchronous, check, KalmanNormError } from './errors.js';
import {
  type DType,
  type Format,
  type MemoryStats,
  type NativeDevice,
  type Program as NativeProgram,
  native,
  type Precision,
} from './native.js';
import { flatValues, type NestedNumbers } from './nested.js';
import { noScope } from './scope.js';
import { Tensor } from './tensor.js';

/** Options of {@link openDevice}. */
export interface DeviceOptions {
  /** Threads of the CPU device's kernels; 0, the default, for one a core that this process may use. */
  threads?: number;
  /** Bytes that the device's pool may reserve; 0, the default, for no limit. */
  memoryLimit?: number;
  /**
   * How a CUDA device stores activations and multiplies them; weights, statistics and sums are float32 in all cases.
   * `fp32`, the default: float32 and full products. `tf32`: float32, products in tensor cores with 10 bits of mantissa.
   * `fp16` and `bf16`: half the memory traffic. The CPU device knows `fp32` only.
   */
  precision?: Precision;
  /** Only convolution algorithms that give the same bits at each run; default true. For CUDA devices. */
  deterministic?: boolean;
  /** Time the algorithms of a convolution at its first use and keep the fastest; default false. For CUDA devices. */
  benchmark?: boolean;
}

/** A device that {@link openDevice} can open. */
export interface DeviceInfo {
  /** The name to open it by: `cpu`, `cuda:0`. */
  name: string;
  /** Such as `NVIDIA H200, compute capability 9.0`. */
  description: string;
  /** Bytes of the device's own memory; absent for the CPU. */
  memory?: number;
}

/** What a tensor is made of besides its values. */
export interface TensorOptions {
  /** Default: `activation` for float32 of rank 4, else `plain`. */
  format?: Format;
  /** Whether gradients of this tensor are wanted; default false. */
  requiresGrad?: boolean;
}

/** Time spent in a kind of launch since profiling was switched on. */
export interface ProfileEntry {
  calls: number;
  nanoseconds: number;
}

/**
 * An in-order stream of work on a CPU or GPU. Operations are checked and enqueued at once and run in the background;
 * only reading results waits.
 */
export class Device {
  private handle: NativeDevice | null;

  /** @internal Use {@link openDevice}. */
  constructor(
    handle: NativeDevice,
    /** How activations are stored and multiplied; see {@link DeviceOptions.precision}. */
    readonly precision: Precision,
  ) {
    this.handle = handle;
  }

  /** @internal */
  get native(): NativeDevice {
    check(this.handle !== null, 'DISPOSED', 'device: used after its disposal');
    return this.handle;
  }

  get disposed(): boolean {
    return this.handle === null;
  }

  /** Such as `cpu`. */
  get name(): string {
    return this.native.name;
  }

  /** What the device runs on: cores, threads, library versions. */
  get description(): string {
    return this.native.description;
  }

  /**
   * A tensor with these values, in row-major order of the logical shape.
   *
   * @param values nested arrays become float32, with their shape: `[[1, 2], [3, 4]]` is [2, 2]
   * @param shape default: that of the arrays; for typed arrays a vector of all values
   * @throws KalmanNormError `SHAPE_MISMATCH` where the number of values isn't that of the shape, or the inner arrays
   *   differ in length; `DTYPE_MISMATCH` for other typed arrays; `INVALID_ARGUMENT` for what isn't numbers
   */
  tensor(
    values: Float32Array | Int32Array | Uint8Array | NestedNumbers,
    shape?: readonly number[],
    options: TensorOptions = {},
  ): Tensor {
    const { typed, shape: own } = flatValues(values);
    const size = shape ?? own;
    const count = checkedCount(size);
    check(
      count === typed.length,
      'SHAPE_MISMATCH',
      () => `tensor: values must have ${count} entries for shape [${size.join(', ')}], got ${typed.length}`,
    );
    const format = options.format ?? (typed instanceof Float32Array && size.length === 4 ? 'activation' : 'plain');
    const tensor = new Tensor(this, native.upload(this.native, size, format, typed));
    tensor.requiresGrad = options.requiresGrad ?? false;
    return tensor;
  }

  /** A tensor filled with one value. */
  full(shape: readonly number[], value: number, options: TensorOptions & { dtype?: DType } = {}): Tensor {
    checkedCount(shape);
    const dtype = options.dtype ?? 'float32';
    const format = options.format ?? (dtype === 'float32' && shape.length === 4 ? 'activation' : 'plain');
    const tensor = new Tensor(this, native.full(this.native, shape, dtype, format, value));
    tensor.requiresGrad = options.requiresGrad ?? false;
    return tensor;
  }

  /** A tensor of zeros. */
  zeros(shape: readonly number[], options: TensorOptions & { dtype?: DType } = {}): Tensor {
    return this.full(shape, 0, options);
  }

  /** A tensor of ones. */
  ones(shape: readonly number[], options: TensorOptions & { dtype?: DType } = {}): Tensor {
    return this.full(shape, 1, options);
  }

  /** Resolves when everything enqueued so far has run; rejects with `DEVICE_FAILED` when an operation failed. */
  synchronize(): Promise<void> {
    return this.native.synchronize();
  }

  /** Bytes and blocks in use, pooled and at most in use since {@link Device.resetPeakMemory}. */
  memoryStats(): MemoryStats {
    return this.native.memoryStats();
  }

  resetPeakMemory(): void {
    this.native.resetPeakMemory();
  }

  /** Gives pooled memory back to the system, after waiting for enqueued work. */
  trimMemory(): void {
    this.native.trimMemory();
  }

  /**
   * Records the operations that `step` enqueues, without running them, into a program that can be replayed. Tensors
   * from outside are read and written in place at each replay (parameters, learning rate, sample indices); memory
   * allocated within belongs to the program, laid out once. Host values can't be uploaded or read within.
   *
   * @returns the program, and what `step` returned: tensors in it are overwritten by each replay
   * @throws KalmanNormError `INVALID_STATE` for a recording within a recording; `INVALID_ARGUMENT` where `step` is
   *   asynchronous
   */
  record<T>(step: () => T): { program: Program; result: T } {
    this.native.beginRecording();
    try {
      const result = callSynchronous('record', step);
      return { program: new Program(this, this.native.endRecording()), result };
    } catch (error) {
      this.native.abandonRecording();
      throw error;
    }
  }

  /** Starts (and resets) or stops timing of launches. Waits for enqueued work. */
  setProfiling(on: boolean): void {
    this.native.setProfiling(on);
  }

  /** Time by kind of launch since profiling was switched on. */
  profile(): Record<string, ProfileEntry> {
    return this.native.profile();
  }

  /** Waits for enqueued work and gives the device up. Tensors on it can't be used any more. */
  dispose(): void {
    this.handle?.dispose();
    this.handle = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A recorded step; see {@link Device.record}. */
export class Program {
  private handle: NativeProgram | null;

  /** @internal */
  constructor(
    readonly device: Device,
    handle: NativeProgram,
  ) {
    this.handle = handle;
  }

  private get native(): NativeProgram {
    check(this.handle !== null, 'DISPOSED', 'program: used after its disposal');
    return this.handle;
  }

  /** Launches of one replay. */
  get launches(): number {
    return this.native.launches;
  }

  /** Memory that the program owns. */
  memoryStats(): MemoryStats {
    return this.native.memory;
  }

  /** Enqueues `count` replays: one call, whatever the number of launches. */
  run(count = 1): void {
    check(Number.isInteger(count) && count >= 0, 'INVALID_ARGUMENT', `run: count must be a whole number, got ${count}`);
    this.device.native.replay(this.native, count);
  }

  /** Frees the program's memory once enqueued replays have run. */
  dispose(): void {
    this.handle?.dispose();
    this.handle = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkedCount(shape: readonly number[]): number {
  check(Array.isArray(shape), 'INVALID_ARGUMENT', () => `shape: expected an array of sizes, got ${String(shape)}`);
  for (const size of shape) {
    check(
      Number.isInteger(size) && size >= 1,
      'INVALID_ARGUMENT',
      `shape: expected whole numbers of at least 1, got [${shape.join(', ')}]`,
    );
  }
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Opens a device.
 *
 * @param name `cpu`, or `cuda:N` for the N-th NVIDIA GPU
 * @throws KalmanNormError `DEVICE_UNAVAILABLE` where it isn't built or isn't there, `INVALID_ARGUMENT` for other names
 */
export function openDevice(name = 'cpu', options: DeviceOptions = {}): Device {
  const { threads = 0, memoryLimit = 0 } = options;
  check(
    Number.isInteger(threads) && threads >= 0 && threads <= 1024,
    'INVALID_ARGUMENT',
    `openDevice: threads must be a whole number from 0 to 1024, got ${threads}`,
  );
  check(
    Number.isFinite(memoryLimit) && memoryLimit >= 0,
    'INVALID_ARGUMENT',
    `openDevice: memoryLimit must not be negative, got ${memoryLimit}`,
  );
  const { precision = 'fp32', deterministic = true, benchmark = false } = options;
  check(
    ['fp32', 'tf32', 'fp16', 'bf16'].includes(precision),
    'INVALID_ARGUMENT',
    `openDevice: precision must be fp32, tf32, fp16 or bf16, got ${precision}`,
  );
  if (name === 'cpu') {
    check(
      precision === 'fp32',
      'INVALID_ARGUMENT',
      `openDevice: the CPU device knows precision fp32 only, got ${precision}`,
    );
    return noScope(() => new Device(native.createCpuDevice({ threads, memoryLimit }), precision));
  }
  const cuda = openCuda(name, { memoryLimit, precision, deterministic, benchmark });
  if (cuda) return noScope(() => new Device(cuda, precision));
  throw new KalmanNormError('INVALID_ARGUMENT', `openDevice: expected "cpu" or "cuda:N", got "${name}"`);
}

/**
 * The devices of this machine: the CPU, then its NVIDIA GPUs. Where there should be GPUs but aren't,
 * {@link cudaProblem} tells why.
 */
export function devices(): DeviceInfo[] {
  const cpu = { name: 'cpu', description: `${availableParallelism()} cores` };
  const gpus = findGpus().gpus.map(({ name, capability, memory }, i) => ({
    name: `cuda:${i}`,
    description: `${name}, compute capability ${capability}`,
    memory,
  }));
  return [cpu, ...gpus];
}

/** Why no GPU can be used: what was looked for, where, what was found, and the remedy. Null where one can. */
export function cudaProblem(): string | null {
  return findGpus().problem;
}
