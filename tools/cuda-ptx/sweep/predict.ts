import { Belief, samplePrior } from '../../../lib/index.js';
import { predict, propagate, rectifyBelief } from '../../../lib/kalman/index.js';
import { type Family, LARGE, SPLITS } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const size = { height: LARGE, width: LARGE };
    const noise = inputs.tensor([SPLITS, channels, LARGE, LARGE]);
    for (const source of [inputs.random, noise]) {
      inputs.differentiate(samplePrior(inputs.belief(channels), size, source));
    }
    for (const [taps, options] of [
      [3, { padding: 'same', stride: 2 }],
      [3, { padding: 1 }],
      [5, { padding: 2 }],
    ] as const) {
      const weight = inputs.tensor([5, channels, taps, taps], 'filter');
      const size = { height: 6, width: 5, ...options };
      const { mean, variance } = predict(inputs.belief(channels), weight, size);
      inputs.differentiate(mean, variance);
      for (const rectified of [true, false]) {
        const belief = new Belief(inputs.tensor([channels]), inputs.positive(channels), 1, rectified);
        const whole = propagate(belief, weight, size);
        const moments = rectifyBelief(belief);
        inputs.differentiate(whole.mean, whole.variance, ...(rectified ? [moments.mean, moments.variance] : []));
      }
    }
  },
} satisfies Family;
