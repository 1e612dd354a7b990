import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { checkOptions, type OptionNames } from '../options.js';
import { valuesOf } from '../shape.js';
import { Tensor } from '../tensor.js';
import { unary } from './differentiable.js';
import { reshape } from './memory.js';

/** What becomes of the values along reduced axes. */
type ReduceKind = 'sum' | 'mean' | 'max' | 'argMax';

declare module '../addon/contract.js' {
  interface Operations {
    /** Along all axes where `shape`, aligned to the last ones, has size 1 or isn't there. `argMax`: along one, int32. */
    reduce(args: { x: Handle; shape: readonly number[]; format: Format; kind: ReduceKind }): Handle;
  }
}

/** Options of {@link sum}, {@link mean} and {@link max}. */
export interface ReduceOptions {
  /** One axis or several; negative ones count from the end. Default: all. */
  axes?: number | readonly number[];
  /** Whether reduced axes stay, with size 1; default false. */
  keepDims?: boolean;
}

const optionNames: OptionNames<ReduceOptions> = { axes: true, keepDims: true };

/** An axis counted from the first. @internal */
export function axisOf(name: string, axis: number, rank: number): number {
  check(
    Number.isInteger(axis) && axis >= -rank && axis < rank,
    'INVALID_ARGUMENT',
    () => `${name}: expected an axis from ${-rank} to ${rank - 1}, got ${String(axis)}`,
  );
  return axis < 0 ? axis + rank : axis;
}

/** The shape of a result with reduced axes of size 1, and the one without them. */
function shapesOf(name: string, x: Tensor, axes: number | readonly number[] | undefined) {
  checkTensors(name, { x });
  const { shape } = x;
  const list = axes === undefined ? shape.map((_, axis) => axis) : typeof axes === 'number' ? [axes] : axes;
  check(
    Array.isArray(list),
    'INVALID_ARGUMENT',
    () => `${name}: axes must be a number or an array, got ${String(axes)}`,
  );
  const reduced = new Set(list.map((axis) => axisOf(name, axis, shape.length)));
  check(reduced.size === list.length, 'INVALID_ARGUMENT', () => `${name}: axes must differ, got [${list.join(', ')}]`);
  return {
    kept: shape.map((size, axis) => (reduced.has(axis) ? 1 : size)),
    short: shape.filter((_, axis) => !reduced.has(axis)),
  };
}

/** Sums and means are row-major, so that they are float32 whatever the device stores activations in. */
function reduced(
  kind: Exclude<ReduceKind, 'argMax'>,
  x: Tensor,
  options: ReduceOptions,
  backward: (context: { saved: { x: Handle; y: Handle }; dy: Handle }, terms: number) => Handle,
): Tensor {
  checkOptions(kind, options, optionNames);
  const { axes, keepDims = false } = options;
  const { kept, short } = shapesOf(kind, x, axes);
  const terms = x.size / valuesOf(kept);
  const y = unary(kind, x, {
    forward: (x) => native.reduce({ x, shape: kept, format: 'plain', kind }),
    save: (x, y) => ({ x, y }),
    backward: (context) => backward(context, terms),
  });
  if (keepDims || short.length === kept.length) return y;
  const result = reshape(y, short, 'plain');
  y.dispose();
  return result;
}

/** The gradient of sums: what flows into a sum flows into each of its terms. */
function spread(dy: Handle, { shape, format }: Handle): Handle {
  return native.broadcastTo({ x: dy, shape, format });
}

/** Sums over axes, in float64 before they are rounded. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduced('sum', x, options, ({ saved, dy }) => spread(dy, saved.x));
}

/** Means over axes. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduced('mean', x, options, ({ saved, dy }, terms) => {
    const share = native.scale({ x: dy, factor: 1 / terms });
    const dx = spread(share, saved.x);
    share.dispose();
    return dx;
  });
}

/** The largest values over axes; NaN where one is among them. Equal ones share the gradient. */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduced('max', x, options, ({ saved: { x, y }, dy }) => {
    const mask = native.binary({ a: x, b: y, kind: 'equal' });
    const count = native.reduce({ x: mask, shape: y.shape, format: 'plain', kind: 'sum' });
    const share = native.binary({ a: dy, b: count, kind: 'divide' });
    const dx = native.binary({ a: mask, b: share, kind: 'multiply' });
    for (const handle of [mask, count, share]) handle.dispose();
    return dx;
  });
}

/** Where the largest value along an axis is, int32; the first of equal ones, or of NaNs. No gradient. */
export function argmax(x: Tensor, axis: number): Tensor {
  const { kept, short } = shapesOf('argmax', x, axis);
  const places = native.reduce({ x: x.handle, shape: kept, format: 'plain', kind: 'argMax' });
  const result = native.reshape({ tensor: places, shape: short, format: 'plain' });
  places.dispose();
  return new Tensor(x.device, result);
}
