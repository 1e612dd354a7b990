import { padBelief, padChannels } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const x = inputs.tensor([2, channels, 7, 5]);
    inputs.differentiate(padChannels(x, channels, channels), padChannels(x, 1, 2));
    for (const padding of ['aligned', 'reference'] as const) {
      const { mean, variance } = padBelief(inputs.belief(channels), channels, channels, padding);
      inputs.differentiate(mean, variance);
    }
  },
} satisfies Family;
