import { conv2d } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** What goes around the library's convolutions: images that lie row-major, filters in other types. */
  everyWidth(inputs, channels) {
    const weight = inputs.tensor([8, channels, 3, 3], 'filter');
    for (const format of ['plain', 'activation'] as const) {
      inputs.differentiate(conv2d(inputs.tensor([2, channels, 6, 5], format), weight, { padding: 'same' }));
    }
    const image = inputs.tensor([2, channels, 6, 5]);
    const depthwise = inputs.tensor([channels, 1, 3, 3], 'filter');
    inputs.differentiate(conv2d(image, depthwise, { padding: 2, dilation: 2, groups: channels }));
  },
} satisfies Family;
