import type { Format } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkShape, checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import { Tensor } from '../tensor.js';
import { differentiable, unary } from './differentiable.js';
import { axisOf } from './reduce.js';

declare module '../addon/contract.js' {
  interface Operations {
    /** Axis i of the result is axis axes[i] of x. */
    permute(args: { x: Handle; axes: readonly number[]; format: Format }): Handle;
    /** Values [starts, starts + shape). */
    slice(args: { x: Handle; starts: readonly number[]; shape: readonly number[]; format: Format }): Handle;
    /** Writes `part` over the values of `into` that begin at `starts`. */
    place(args: { part: Handle; into: Handle; starts: readonly number[] }): void;
    broadcastTo(args: { x: Handle; shape: readonly number[]; format: Format }): Handle;
  }
}

/** The format of a result: that of x, where it still has an activation's or a filter's rank. */
function formatOf(x: Tensor, rank: number): Format {
  return rank === x.shape.length ? x.format : rank === 4 ? 'activation' : 'plain';
}

/**
 * Axes in another order.
 *
 * @param axes of x, in the order of the result; negative ones count from the end
 * @throws KalmanNormError `SHAPE_MISMATCH` for another number of axes, `INVALID_ARGUMENT` where one comes twice
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  checkTensors('permute', { x });
  const rank = x.shape.length;
  check(Array.isArray(axes), 'INVALID_ARGUMENT', () => `permute: axes must be an array, got ${String(axes)}`);
  const order = axes.map((axis) => axisOf('permute', axis, rank));
  const { format } = x;
  return unary('permute', x, {
    forward: (x) => native.permute({ x, axes: order, format }),
    backward: ({ dy }) => native.permute({ x: dy, axes: order.map((_, axis) => order.indexOf(axis)), format }),
  });
}

/** Two axes swapped; default the last two. */
export function transpose(x: Tensor, first = -2, second = -1): Tensor {
  checkTensors('transpose', { x });
  const rank = x.shape.length;
  const [a, b] = [axisOf('transpose', first, rank), axisOf('transpose', second, rank)];
  return permute(
    x,
    x.shape.map((_, axis) => (axis === a ? b : axis === b ? a : axis)),
  );
}

/**
 * Values [from, to) along an axis.
 *
 * @param axis negative ones count from the end
 * @throws KalmanNormError `INVALID_ARGUMENT` for a range outside, or an empty one
 */
export function slice(x: Tensor, axis: number, from: number, to: number): Tensor {
  checkTensors('slice', { x });
  const { shape, format, device } = x;
  const along = axisOf('slice', axis, shape.length);
  const size = shape[along] as number;
  check(
    Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from < to && to <= size,
    'INVALID_ARGUMENT',
    () => `slice: [${from}, ${to}) is not a range of the ${size} values along axis ${axis}`,
  );
  const starts = shape.map((_, i) => (i === along ? from : 0));
  const part = shape.map((size, i) => (i === along ? to - from : size));
  return unary('slice', x, {
    forward: (x) => native.slice({ x, starts, shape: part, format }),
    backward({ dy }) {
      const dx = native.full({ device: device.native, shape, dtype: 'float32', format, value: 0 });
      native.place({ part: dy, into: dx, starts });
      return dx;
    },
  });
}

/**
 * Tensors one behind the other along an axis; the other sizes must be equal.
 *
 * @param axis negative ones count from the end; default 1, the channels
 */
export function concat(tensors: readonly Tensor[], axis = 1): Tensor {
  check(
    Array.isArray(tensors) && tensors.length > 0 && tensors.every((x) => x instanceof Tensor),
    'INVALID_ARGUMENT',
    () => `concat: expected an array of tensors, got ${String(tensors)}`,
  );
  const first = tensors[0] as Tensor;
  const along = axisOf('concat', axis, first.shape.length);
  tensors.forEach(({ shape }, i) => {
    const fits = shape.length === first.shape.length && shape.every((n, j) => j === along || n === first.shape[j]);
    check(
      fits,
      'SHAPE_MISMATCH',
      () =>
        `concat: tensor ${i} must have the shape [${first.shape.join(', ')}] but for axis ${along}, ` +
        `got [${shape.join(', ')}]`,
    );
  });
  const sizes = tensors.map(({ shape }) => shape[along] as number);
  const offsets = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
  const shape = first.shape.map((size, i) => (i === along ? sizes.reduce((sum, each) => sum + each, 0) : size));
  const startsOf = (i: number) => shape.map((_, j) => (j === along ? (offsets[i] as number) : 0));
  const format = formatOf(first, shape.length);
  const inputs = Object.fromEntries(tensors.map((x, i) => [String(i), x]));
  const formats = tensors.map((x) => ({ shape: x.shape, format: x.format }));
  return differentiable({
    name: 'concat',
    inputs,
    forward(handles) {
      const y = native.empty({ device: first.device.native, shape, dtype: 'float32', format, virtualSamples: 0 });
      tensors.forEach((_, i) => {
        native.place({ part: handles[i] as NonNullable<(typeof handles)[number]>, into: y, starts: startsOf(i) });
      });
      return { y };
    },
    outputs: ['y'],
    backward: ({ grads, wanted }) =>
      Object.fromEntries(
        formats.map((form, i) => [
          String(i),
          wanted(String(i)) ? native.slice({ x: grads.y, starts: startsOf(i), ...form }) : null,
        ]),
      ),
  }).y;
}

/** x repeated along axes where it has size 1, or that it hasn't, by NumPy's rules. */
export function broadcastTo(x: Tensor, shape: readonly number[]): Tensor {
  checkTensors('broadcastTo', { x });
  checkShape('broadcastTo', shape);
  const format = formatOf(x, shape.length);
  const from = { shape: x.shape, format: x.format };
  return unary('broadcastTo', x, {
    forward: (x) => native.broadcastTo({ x, shape, format }),
    backward: ({ dy }) => native.reduce({ x: dy, ...from, kind: 'sum' }),
  });
}
