import { addWithMoments, batchNorm, normalize, relu, scale } from '../../../lib/index.js';
import { type Family, HEIGHT, MANY_CHANNELS, SPLITS, WIDTH } from '../inputs.js';

export default {
  everyWidth(inputs, channels) {
    const shape = [4, channels, HEIGHT, WIDTH] as const;
    const x = inputs.tensor(shape);
    const affine = inputs.affine(channels);
    const none = { gamma: null, beta: null };
    const running = { mean: inputs.tensor([channels]), variance: inputs.positive(channels) };
    // Not a leaf, so that a gradient from elsewhere is added in the same launch.
    const inner = scale(x, 2);
    const how = { momentum: 0.1, correction: 1.1, allSplits: true };
    const options = { splits: SPLITS, relu: true, running: { ...running, ...how } };
    inputs.differentiate(batchNorm(inner, affine, options).output, relu(inner));
    const small = scale(inputs.tensor([4, channels, 5, 3]), 2);
    inputs.differentiate(batchNorm(small, affine, options).output, relu(small));
    inputs.differentiate(batchNorm(addWithMoments(x, inputs.tensor(shape), SPLITS), none, { splits: SPLITS }).output);
    for (const rectify of [true, false]) {
      const options = { relu: rectify };
      inputs.differentiate(batchNorm(x, affine, { ...options, engine: 'cudnn' }).output);
      inputs.differentiate(normalize(x, running, rectify ? affine : none, options));
    }
  },

  once(inputs) {
    const x = inputs.tensor([2, MANY_CHANNELS, 2, 1]);
    inputs.differentiate(batchNorm(x, inputs.affine(MANY_CHANNELS), { relu: true }).output);
  },
} satisfies Family;
