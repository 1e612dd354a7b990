import { adaptiveKalmanNorm, addWithMoments, Belief, filterRows, relu, scale } from '../../../lib/index.js';
import { type Family, HEIGHT, SPLITS, WIDTH } from '../inputs.js';

export default {
  /** Steps of the adaptive filter: the first and a later one, with and without a prior, with a fixed gain. */
  everyWidth(inputs, channels) {
    const { device } = inputs;
    const affine = inputs.affine(channels);
    const upstream = { filter: device.zeros([filterRows.length, channels]), corrections: 4 };
    // Of the smaller images a split is one block's, by any access.
    for (const [height, width] of [
      [HEIGHT, WIDTH],
      [5, 3],
    ] as const) {
      const shape = [4, channels, height, width] as const;
      const filter = device.zeros([filterRows.length, channels]);
      const state = { filter, running: { mean: inputs.tensor([channels]), variance: inputs.positive(channels) } };
      const images = () => scale(inputs.tensor(shape), 2);
      const sums = () => addWithMoments(images(), inputs.tensor(shape), SPLITS);
      for (const [make, options] of [
        [images, { splits: SPLITS, relu: true }],
        [images, { splits: SPLITS }],
        [sums, { splits: SPLITS, relu: true }],
        [images, { splits: 1, gain: 0.2, relu: true }],
      ] as const) {
        const x = make();
        const prior = new Belief(inputs.tensor([channels]), inputs.positive(channels), 1, false, upstream);
        const { output, normalized, belief } = adaptiveKalmanNorm(x, prior, affine, state, options);
        inputs.differentiate(output, normalized!.variance, belief.mean, belief.variance, relu(x));
      }
      const x = images();
      inputs.differentiate(adaptiveKalmanNorm(x, null, affine, state, { splits: 1 }).output, relu(x));
    }
  },
} satisfies Family;
