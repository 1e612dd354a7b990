import { adaptiveKalmanNorm, addWithMoments, Belief, filterRows, relu, scale } from '../../../lib/index.js';
import { type Family, HEIGHT, SPLITS, WIDTH } from '../inputs.js';

export default {
  /** Steps of the adaptive filter: the first and a later one, with and without a prior, with a fixed gain. */
  everyWidth(inputs, channels) {
    const { device } = inputs;
    const x = scale(inputs.tensor([4, channels, HEIGHT, WIDTH]), 2);
    const sums = addWithMoments(x, inputs.tensor([4, channels, HEIGHT, WIDTH]), SPLITS);
    const affine = inputs.affine(channels);
    const filter = device.zeros([filterRows.length, channels]);
    const state = { filter, running: { mean: inputs.tensor([channels]), variance: inputs.positive(channels) } };
    const believed = () => new Belief(inputs.tensor([channels]), inputs.positive(channels), 1);
    for (const [images, prior, options] of [
      [x, believed(), { splits: SPLITS, relu: true }],
      [x, believed(), { splits: SPLITS }],
      [sums, believed(), { splits: SPLITS, relu: true }],
      [x, null, { splits: 1 }],
      [x, believed(), { splits: 1, gain: 0.2, relu: true }],
    ] as const) {
      const { output, belief } = adaptiveKalmanNorm(images, prior, affine, state, options);
      inputs.differentiate(output, ...(prior ? [belief.mean, belief.variance] : []), relu(x));
    }
  },
} satisfies Family;
