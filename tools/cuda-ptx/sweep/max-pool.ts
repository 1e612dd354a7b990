import { maxPool2d } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([2, channels, 7, 5]);
    inputs.differentiate(maxPool2d(x, 2), maxPool2d(x, [3, 2], { stride: [2, 1], padding: 1 }));
  },
} satisfies Family;
