import { record } from '../autograd.js';
import { native } from '../native.js';
import { Tensor } from '../tensor.js';

/**
 * x·W + b.
 *
 * @param x [N, in]
 * @param weight [in, out], as the reference stores it
 * @param bias [out], or null
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  const y = new Tensor(x.device, native.linear(x.handle, weight.handle, bias?.handle ?? null));
  record([x, weight, bias], () => {
    const input = x.handle.share();
    const matrix = weight.handle.share();
    return {
      name: 'linear',
      inputs: [x, weight, bias],
      outputs: [y],
      saved: [input, matrix],
      backward({ grads: [dy], wanted }) {
        if (!dy) return [null, null, null];
        const { dx, dw, db } = native.linearBackward(input, matrix, dy, wanted[0] === true, bias !== null);
        return [dx, dw, db];
      },
    };
  });
  return y;
}
