import { reshape } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    inputs.differentiate(reshape(inputs.tensor([3, channels, 5, 3]), [3, channels * 15]));
  },

  once({ device }) {
    for (const count of [3, 40, 5000]) {
      device.full([count], 7, { dtype: 'uint8' });
      device.full([count], -2, { dtype: 'int32' });
      device.full([1, count, 1, 1], 0.7);
    }
  },
} satisfies Family;
