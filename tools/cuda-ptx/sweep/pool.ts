import { avgPool2d, globalAvgPool } from '../../../lib/index.js';
import { type Family, MANY_CHANNELS } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([2, channels, 7, 5]);
    inputs.differentiate(avgPool2d(x, 2), avgPool2d(x, 5), globalAvgPool(x));
  },

  once(inputs) {
    inputs.differentiate(globalAvgPool(inputs.tensor([2, MANY_CHANNELS, 2, 1])));
  },
} satisfies Family;
