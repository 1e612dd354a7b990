import { constants } from 'node:buffer';
import type { DType, Format, Handle, MemoryStats, NativeDevice, Precision, TensorData } from './addon/contract.js';
import { native } from './addon/load.js';
import { callSynchronous, check } from './errors.js';
import { flatValues, type NestedNumbers } from './nested.js';
import { checkOptions, type OptionNames } from './options.js';
import { Program } from './program.js';
import { adopt, noScope, release } from './scope.js';
import { valuesOf } from './shape.js';
import { shown } from './shown.js';
import type { Edge, TapeNode } from './tape.js';

// Devices make tensors, and tensors know their device: two classes that can't be told apart by floors.

/** What a tensor is made of besides its values. */
export interface TensorOptions {
  /** Default: `activation` for float32 of rank 4, else `plain`. */
  format?: Format;
  /** Whether gradients of this tensor are wanted; default false. */
  requiresGrad?: boolean;
}

const tensorNames: OptionNames<TensorOptions> = { format: true, requiresGrad: true };
const filledNames: OptionNames<TensorOptions & { dtype?: DType }> = { ...tensorNames, dtype: true };

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
  private isRecording = false;

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

  /** Whether {@link Device.record} is calling its step at the moment. */
  get recording(): boolean {
    return this.isRecording;
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
  tensor(values: TensorData | NestedNumbers, shape?: readonly number[], options: TensorOptions = {}): Tensor {
    checkOptions('tensor', options, tensorNames);
    const { typed, shape: own } = flatValues(values);
    const size = shape ?? own;
    const count = checkedCount(size);
    check(
      count === typed.length,
      'SHAPE_MISMATCH',
      () => `tensor: values must have ${count} entries for shape [${size.join(', ')}], got ${typed.length}`,
    );
    const format = options.format ?? (typed instanceof Float32Array && size.length === 4 ? 'activation' : 'plain');
    const tensor = new Tensor(this, native.upload({ device: this.native, shape: size, format, values: typed }));
    tensor.requiresGrad = options.requiresGrad ?? false;
    return tensor;
  }

  /** A tensor filled with one value. */
  full(shape: readonly number[], value: number, options: TensorOptions & { dtype?: DType } = {}): Tensor {
    checkOptions('full', options, filledNames);
    checkedCount(shape);
    const dtype = options.dtype ?? 'float32';
    const format = options.format ?? (dtype === 'float32' && shape.length === 4 ? 'activation' : 'plain');
    const tensor = new Tensor(this, native.full({ device: this.native, shape, dtype, format, value }));
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

  /**
   * Zeros in memory of the host that the device copies from directly (on a GPU pinned memory), for whoever fills one buffer
   * time and again, as with decoded images. {@link Tensor.write} copies other arrays at once; of this one it leaves that
   * to the device, and so the bytes must not change before a later {@link Device.synchronize} has resolved. It is freed when
   * nobody can reach it any more.
   *
   * @param bytes from 1 to what a Uint8Array may have, 4 GiB with Node 20
   * @throws KalmanNormError `INVALID_ARGUMENT` for other numbers; `OUT_OF_MEMORY`
   *
   * @example
   * const pixels = device.hostBuffer(images.size);
   * await source.read(members, pixels);
   * images.write(pixels);
   * const taken = device.synchronize(); // once it resolves, `pixels` may be filled anew
   */
  hostBuffer(bytes: number): Uint8Array {
    check(
      Number.isInteger(bytes) && bytes >= 1 && bytes <= constants.MAX_LENGTH,
      'INVALID_ARGUMENT',
      () => `hostBuffer: bytes must be a whole number from 1 to ${constants.MAX_LENGTH}, got ${shown(bytes)}`,
    );
    return native.hostBuffer({ device: this.native, bytes });
  }

  /** Resolves when everything enqueued so far has run; rejects with `DEVICE_FAILED` when an operation failed. */
  synchronize(): Promise<void> {
    return this.native.synchronize();
  }

  /**
   * Operations and runs of programs that have been enqueued and have not ended, for back-pressure: whoever enqueues
   * faster than the device works waits when there are too many. On a GPU, which tells from time to time how far it has
   * come, at most this many.
   */
  get queueDepth(): number {
    return this.native.queueDepth;
  }

  /**
   * Drops the work that has been enqueued and has not started, where the device can, as the CPU's; a GPU works off what
   * it was given. Reads and {@link Device.synchronize} that wait reject at once with `CANCELLED`. The device goes on with
   * whatever is enqueued from now on, but tensors that dropped work would have written hold what they held before, or
   * anything where they are new: go on from a checkpoint, or from tensors that were not written.
   *
   * @throws KalmanNormError `INVALID_STATE` within {@link Device.record}
   */
  cancel(): void {
    this.native.cancel();
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
   * allocated within belongs to the program, laid out once. It is what the pool has, so a step that has run once before
   * takes none from the system; on a GPU that run also does whatever a first use needs. Host values can't be uploaded or read within, and modules,
   * optimizers and whatever else keeps state are made before: each replay would set it back.
   *
   * @returns the program, and what `step` returned: tensors in it are overwritten by each replay
   * @throws KalmanNormError `INVALID_STATE` for a recording within a recording; `INVALID_ARGUMENT` where `step` is
   *   asynchronous
   */
  record<T>(step: () => T): { program: Program; result: T } {
    this.native.beginRecording();
    this.isRecording = true;
    try {
      const result = callSynchronous('record', step);
      return { program: new Program(this, this.native.endRecording()), result };
    } catch (error) {
      this.native.abandonRecording();
      throw error;
    } finally {
      this.isRecording = false;
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

  /**
   * Gives the device up. Tensors on it can't be used any more; reads that wait for their values still get them. Enqueued
   * work that has not started, and that no read waits for, is dropped where the device can, as the CPU's.
   *
   * @returns resolves when the device has come to rest
   */
  async dispose(): Promise<void> {
    const { handle } = this;
    this.handle = null;
    await handle?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * A shaped block of device memory. Shapes are logical: activations are [N, C, H, W] or [N, C], filters
 * [out, in, height, width], whatever the device's own layout; values come and go in row-major order.
 *
 * Memory is freed by {@link Tensor.dispose}, a `using` declaration or the innermost {@link scope}. The garbage collector is
 * only the safety net: it is told of the memory, and runs before a device reports `OUT_OF_MEMORY`.
 */
export class Tensor {
  /** Whether gradients flow to this tensor. */
  requiresGrad = false;
  /** The sum of all gradients that {@link backward} has brought since the last {@link Tensor.zeroGrad}; leaves only. */
  grad: Tensor | null = null;
  /** What a module keeps it for; parameters and buffers are not freed by scopes. @internal */
  role: 'value' | 'parameter' | 'buffer' = 'value';
  /** The operation that made it, where gradients flow through. @internal */
  node: TapeNode | null = null;
  /** Which of the node's outputs it is. @internal */
  output = 0;
  /** How many virtual samples its gradient should have room for behind its own; see ops/kalman.ts. @internal */
  virtualSamples = 0;
  /** Moments per split that were computed along with it. @internal */
  moments: { splits: number; mean: Tensor; variance: Tensor } | null = null;

  private handleOrNull: Handle | null;

  /** @internal Use {@link Device.tensor}. */
  constructor(
    readonly device: Device,
    handle: Handle,
  ) {
    this.handleOrNull = handle;
    adopt(this);
  }

  /** @internal */
  get handle(): Handle {
    check(this.handleOrNull !== null, 'DISPOSED', 'tensor: used after its disposal');
    check(!this.device.disposed, 'DISPOSED', "tensor: used after its device's disposal");
    return this.handleOrNull;
  }

  get shape(): readonly number[] {
    return this.handle.shape;
  }

  get dtype(): DType {
    return this.handle.dtype;
  }

  get format(): Format {
    return this.handle.format;
  }

  /** Number of values. */
  get size(): number {
    return valuesOf(this.shape);
  }

  get disposed(): boolean {
    return this.handleOrNull === null;
  }

  /** The values in row-major order, once everything enqueued so far has run. */
  async data(): Promise<TensorData> {
    return native.download({ tensor: this.handle });
  }

  /** The value of a tensor that has one. @throws KalmanNormError `SHAPE_MISMATCH` where it has more */
  async item(): Promise<number> {
    check(this.size === 1, 'SHAPE_MISMATCH', () => `item: expected one value, got shape [${this.shape.join(', ')}]`);
    return (await this.data())[0] as number;
  }

  /** Overwrites the values, in row-major order; enqueued like an operation. For large ones see {@link Device.hostBuffer}. */
  write(values: TensorData): void {
    const expected = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array }[this.dtype];
    check(
      values instanceof expected,
      'DTYPE_MISMATCH',
      () => `write: values must be a ${expected.name} for a ${this.dtype} tensor, got ${values?.constructor?.name}`,
    );
    native.write({ tensor: this.handle, values });
  }

  /** Overwrites the values with those of another tensor of the same shape, type and format. */
  copyFrom(other: Tensor): void {
    native.copy({ from: other.handle, to: this.handle });
  }

  /** Overwrites all values with one. */
  fill(value: number): void {
    native.fill({ tensor: this.handle, value });
  }

  /** The same memory without history. */
  detach(): Tensor {
    return new Tensor(this.device, this.handle.share());
  }

  /** Keeps the tensor when the innermost scope ends; its owner then disposes it. */
  keep(): this {
    release(this);
    return this;
  }

  /** Forgets the gradient. */
  zeroGrad(): void {
    this.grad?.dispose();
    this.grad = null;
  }

  /** Where its gradient goes: see {@link TapeNode}. @internal */
  get edge(): Edge {
    const { requiresGrad, node, output, virtualSamples } = this;
    if (!requiresGrad) return null;
    return node ? { node, output, virtualSamples } : { leaf: this };
  }

  /** Takes a gradient, which no scope owns, in place of that which it has. @internal */
  setGrad(gradient: Handle): void {
    this.zeroGrad();
    this.grad = noScope(() => new Tensor(this.device, gradient));
  }

  /** Gives the memory up; using the tensor afterwards throws `DISPOSED`. A second call does nothing. */
  dispose(): void {
    if (this.handleOrNull === null) return;
    this.handleOrNull.dispose();
    this.handleOrNull = null;
    this.zeroGrad();
    this.moments?.mean.dispose();
    this.moments?.variance.dispose();
    this.moments = null;
    this.node = null;
    release(this);
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
  return valuesOf(shape);
}
