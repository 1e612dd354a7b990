import { moments, updateRunning } from '../../../lib/index.js';
import { type Family, HEIGHT, MANY_CHANNELS, SPLITS, WIDTH } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const { mean, variance } = moments(inputs.tensor([4, channels, HEIGHT, WIDTH]), SPLITS);
    inputs.differentiate(mean, variance);
    const running = { mean: inputs.tensor([channels]), variance: inputs.positive(channels) };
    for (const allSplits of [true, false]) {
      updateRunning(running, { mean, variance }, { splits: SPLITS, momentum: 0.1, correction: 1.1, allSplits });
    }
  },

  once(inputs) {
    const { mean, variance } = moments(inputs.tensor([2, MANY_CHANNELS, 2, 1]));
    inputs.differentiate(mean, variance);
  },
} satisfies Family;
