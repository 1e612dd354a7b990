import { broadcastTo, concat, permute, slice } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([3, channels, 5, 2]);
    const row = inputs.tensor([channels, 1, 1]);
    inputs.differentiate(
      permute(x, [0, 2, 3, 1]),
      slice(x, 1, 3, 12),
      concat([x, slice(x, 1, 0, 5)]),
      broadcastTo(row, [3, channels, 5, 2]),
    );
  },
} satisfies Family;
