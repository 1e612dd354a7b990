import { native } from '../addon/load.js';
import type { Tensor } from '../tensor.js';
import { differentiable } from './differentiable.js';

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
