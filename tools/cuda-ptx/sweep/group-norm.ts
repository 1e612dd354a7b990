import { groupNorm } from '../../../lib/index.js';
import { type Family, HEIGHT, WIDTH } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([4, channels, HEIGHT, WIDTH]);
    inputs.differentiate(groupNorm(x, channels === 40 ? 4 : 1, inputs.affine(channels), { relu: true }));
    inputs.differentiate(groupNorm(x, channels, { gamma: null, beta: null }));
  },
} satisfies Family;
