import { Belief, samplePrior } from '../../../lib/index.js';
import { predict, propagate, rectifyBelief } from '../../../lib/kalman/index.js';
import { propagateObserved } from '../../../lib/ops/predict.js';
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
  once(inputs) {
    // Of one split: more inputs or fewer for the threads of a block, more taps than threads; more channels than it takes.
    for (const { channels, out, taps } of [
      { channels: 3, out: 70, taps: 7 },
      { channels: 150, out: 3, taps: 1 },
      { channels: 2, out: 2, taps: 17 },
      { channels: 257, out: 3, taps: 1 },
      // More pairs of channels than the last block sums.
      { channels: 100, out: 170, taps: 1 },
    ]) {
      const belief = new Belief(inputs.tensor([channels]), inputs.positive(channels), 1);
      const weight = inputs.tensor([out, channels, taps, taps], 'filter');
      const { mean, variance } = predict(belief, weight, { height: 18, width: 17, stride: 2, padding: 1 });
      inputs.differentiate(mean, variance);
      inputs.differentiate(predict(belief, weight, { height: 18, width: 17 }).mean);
      const observed = { slope: inputs.tensor([out, channels, taps, taps], 'filter'), variance: inputs.positive(out) };
      const shown = propagateObserved(belief, weight, { height: 18, width: 17 }, observed);
      inputs.differentiate(shown.mean, shown.variance);
    }
  },
} satisfies Family;
