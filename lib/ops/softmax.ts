import type { Handle } from '../addon/contract.js';
import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import type { Tensor } from '../tensor.js';
import { unary } from './differentiable.js';
import { axisOf } from './reduce.js';

const exponential = (x: Handle) => native.map({ x, kind: 'exp', a: 0, b: 0 });

/** The shape with size 1 along an axis, behind which sums and largest values lie. */
function keptShape(name: string, x: Tensor, axis: number): readonly number[] {
  checkTensors(name, { x });
  const { shape } = x;
  const along = axisOf(name, axis, shape.length);
  return shape.map((size, i) => (i === along ? 1 : size));
}

/** x - largest, its exponentials, and their sums. */
function exponentials(x: Handle, shape: readonly number[]): { shifted: Handle; powers: Handle; sums: Handle } {
  const largest = native.reduce({ x, shape, format: 'plain', kind: 'max' });
  const shifted = native.binary({ a: x, b: largest, kind: 'subtract' });
  const powers = exponential(shifted);
  const sums = native.reduce({ x: powers, shape, format: 'plain', kind: 'sum' });
  largest.dispose();
  return { shifted, powers, sums };
}

/**
 * exp(x) divided by the sum of all along an axis, without overflow.
 *
 * @param axis negative ones count from the end; default 1, classes or channels
 */
export function softmax(x: Tensor, axis = 1): Tensor {
  const shape = keptShape('softmax', x, axis);
  return unary('softmax', x, {
    forward(x) {
      const { shifted, powers, sums } = exponentials(x, shape);
      const y = native.binary({ a: powers, b: sums, kind: 'divide' });
      for (const handle of [shifted, powers, sums]) handle.dispose();
      return y;
    },
    save: (_, y) => ({ y }),
    backward({ saved: { y }, dy }) {
      const weighted = native.binary({ a: dy, b: y, kind: 'multiply' });
      const sums = native.reduce({ x: weighted, shape, format: 'plain', kind: 'sum' });
      const centered = native.binary({ a: dy, b: sums, kind: 'subtract' });
      const dx = native.binary({ a: centered, b: y, kind: 'multiply' });
      for (const handle of [weighted, sums, centered]) handle.dispose();
      return dx;
    },
  });
}

/**
 * The logarithm of {@link softmax}, which loses nothing where that is near 0.
 *
 * @param axis negative ones count from the end; default 1, classes or channels
 */
export function logSoftmax(x: Tensor, axis = 1): Tensor {
  const shape = keptShape('logSoftmax', x, axis);
  return unary('logSoftmax', x, {
    forward(x) {
      const { shifted, powers, sums } = exponentials(x, shape);
      const logs = native.map({ x: sums, kind: 'log', a: 0, b: 0 });
      const y = native.binary({ a: shifted, b: logs, kind: 'subtract' });
      for (const handle of [shifted, powers, sums, logs]) handle.dispose();
      return y;
    },
    save: (_, y) => ({ y }),
    backward({ saved: { y }, dy }) {
      const sums = native.reduce({ x: dy, shape, format: 'plain', kind: 'sum' });
      const powers = exponential(y);
      const share = native.binary({ a: powers, b: sums, kind: 'multiply' });
      const dx = native.binary({ a: dy, b: share, kind: 'subtract' });
      for (const handle of [sums, powers, share]) handle.dispose();
      return dx;
    },
  });
}
