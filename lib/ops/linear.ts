import { native } from '../addon/load.js';
import { checkTensors } from '../arguments.js';
import { check } from '../errors.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';
import { reshape } from './memory.js';

declare module '../addon/contract.js' {
  interface Operations {
    linear(args: { x: Handle; w: Handle; b?: Maybe }): Handle;
    linearBackward(args: { x: Handle; w: Handle; dy: Handle; needDx: boolean; bias: boolean }): {
      dx: Maybe;
      dw: Handle;
      db: Maybe;
    };
  }
}

/**
 * x·W + b.
 *
 * @param x [N, in]
 * @param weight [in, out], as the reference stores it
 * @param bias [out], or null
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  checkTensors('linear', { x, weight });
  return differentiable({
    name: 'linear',
    inputs: { x, w: weight, b: bias },
    forward: (inputs) => ({ y: native.linear(inputs) }),
    outputs: ['y'],
    save: ({ x, w }) => ({ x, w }),
    backward({ saved, grads, wanted }) {
      const { dx, dw, db } = native.linearBackward({ ...saved, dy: grads.y, needDx: wanted('x'), bias: bias !== null });
      return { x: dx, w: dw, b: db };
    },
  }).y;
}

/**
 * The product of matrices.
 *
 * @param a [..., m, k]: all matrices are multiplied by the one b
 * @param b [k, n]
 * @returns [..., m, n]
 * @throws KalmanNormError `SHAPE_MISMATCH` where the shapes don't fit
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  checkTensors('matmul', { a, b });
  const inner = a.shape.at(-1);
  check(
    a.shape.length >= 2 && b.shape.length === 2 && inner === b.shape[0],
    'SHAPE_MISMATCH',
    () => `matmul: expected [..., m, k] and [k, n], got [${a.shape.join(', ')}] and [${b.shape.join(', ')}]`,
  );
  if (a.shape.length === 2) return linear(a, b, null);
  const rows = reshape(a, [a.size / (inner as number), inner as number]);
  const products = linear(rows, b, null);
  return reshape(products, [...a.shape.slice(0, -1), b.shape[1] as number], 'plain');
}
