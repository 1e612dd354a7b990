import { add, mul, where } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** Operands that lie alike, and one that is broadcast. */
  everyWidth(inputs, channels) {
    const x = inputs.tensor([3, channels, 5, 3]);
    const row = inputs.tensor([1, channels, 1, 1]);
    inputs.differentiate(mul(x, x), add(x, row), where(row, x, 2));
  },
} satisfies Family;
