import { add, backward, gelu, relu, samples, scale, sigmoid, square } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([3, channels, 5, 3]);
    inputs.differentiate(relu(add(x, scale(x, 0.5))), sigmoid(x), gelu(x), square(x));
  },

  /** Samples that don't begin at a multiple of 16 bytes. */
  once(inputs) {
    const part = () => samples(inputs.tensor([3, 5, 3, 3]), 1, 2);
    const whole = inputs.tensor([2, 5, 3, 3]);
    for (const output of [add(part(), part()), square(part()), scale(part(), 3), relu(part()), sigmoid(part())]) {
      inputs.differentiate(output);
    }
    const leaves = [inputs.tensor([9, 500]), inputs.tensor([9, 501]), inputs.tensor([3])];
    inputs.differentiate(...leaves.flatMap((leaf) => [scale(leaf, 2), scale(leaf, 3)]));
    for (const output of [scale(whole, 3), relu(whole), sigmoid(whole)]) backward(output, part().detach());
  },
} satisfies Family;
