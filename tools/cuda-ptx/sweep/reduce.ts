import { argmax, max, mean, sum } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** Few terms, which a thread sums up, and many, for which it takes a block. */
  everyWidth(inputs, channels) {
    const x = inputs.tensor([3, channels, 17, 15]);
    inputs.differentiate(sum(x, { axes: 0 }), mean(x, { axes: [2, 3] }), max(x, { axes: [0, 2, 3], keepDims: true }));
    for (const axis of [0, 1, 2]) argmax(x, axis);
    argmax(inputs.tensor([2, 300]), 1);
  },
} satisfies Family;
