import type { TapeNode } from './autograd.js';
import type { Device } from './device.js';
import { check } from './errors.js';
import { type DType, type Format, type Handle, native } from './native.js';
import { adopt, noScope, release } from './scope.js';

/** Values as they come from the device. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

/**
 * A shaped block of device memory. Shapes are logical: activations are [N, C, H, W] or [N, C], filters
 * [out, in, height, width], whatever the device's own layout; values come and go in row-major order.
 *
 * Memory is freed by {@link Tensor.dispose}, a `using` declaration or the innermost {@link scope}; the garbage collector
 * is only the safety net.
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
  /** Samples for which its gradient should have room behind its own; see ops/kalman.ts. @internal */
  gradientRoom = 0;
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
    return this.shape.reduce((product, length) => product * length, 1);
  }

  get disposed(): boolean {
    return this.handleOrNull === null;
  }

  /** The values in row-major order, once everything enqueued so far has run. */
  async data(): Promise<TensorData> {
    return native.download(this.handle);
  }

  /** The value of a tensor that has one. @throws KalmanNormError `SHAPE_MISMATCH` where it has more */
  async item(): Promise<number> {
    check(this.size === 1, 'SHAPE_MISMATCH', () => `item: expected one value, got shape [${this.shape.join(', ')}]`);
    return (await this.data())[0] as number;
  }

  /** Overwrites the values, in row-major order; enqueued like an operation. */
  write(values: TensorData): void {
    const expected = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array }[this.dtype];
    check(
      values instanceof expected,
      'DTYPE_MISMATCH',
      () => `write: values must be a ${expected.name} for a ${this.dtype} tensor, got ${values?.constructor?.name}`,
    );
    native.write(this.handle, values);
  }

  /** Overwrites the values with those of another tensor of the same shape, type and format. */
  copyFrom(other: Tensor): void {
    native.copy(other.handle, this.handle);
  }

  /** Overwrites all values with one. */
  fill(value: number): void {
    native.fill(this.handle, value);
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

  /** Replaces the gradient by a tensor that no scope owns. @internal */
  setGrad(handle: Handle): void {
    this.grad?.dispose();
    this.grad = noScope(() => new Tensor(this.device, handle));
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
