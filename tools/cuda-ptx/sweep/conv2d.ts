import { conv2d } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** What goes around the library's convolutions: images that lie row-major, filters in other types. */
  everyWidth(inputs, channels) {
    const weight = inputs.tensor([8, channels, 3, 3], 'filter');
    for (const format of ['plain', 'activation'] as const) {
      inputs.differentiate(conv2d(inputs.tensor([2, channels, 6, 5], format), weight, { padding: 'same' }));
    }
  },
} satisfies Family;
