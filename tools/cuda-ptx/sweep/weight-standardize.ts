import { weightStandardize } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    inputs.differentiate(weightStandardize(inputs.tensor([3, channels, 3, 3], 'filter')));
  },
} satisfies Family;
