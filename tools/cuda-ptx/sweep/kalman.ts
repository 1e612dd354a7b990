import {
  type Belief,
  type KalmanNormOptions,
  kalmanNorm,
  kalmanResidual,
  relu,
  scale,
  sigmoid,
  type Tensor,
} from '../../../lib/index.js';
import { type Family, HEIGHT, type Inputs, LARGE, MANY_CHANNELS, SPLITS, WIDTH } from '../inputs.js';

/** A step of the filter and its gradient, which that of what else depends on x is added to. */
function filter(
  inputs: Inputs,
  x: Tensor,
  prior: Belief | 'carried' | null,
  affine: { gamma: Tensor | null; beta: Tensor | null },
  options: KalmanNormOptions,
  ...elsewhere: Tensor[]
): void {
  const { output, posterior } = kalmanNorm(x, prior, affine, { splits: SPLITS, ...options });
  // Without a prior, the posterior carries no gradient.
  const beliefs = prior === null ? [] : [posterior.mean, posterior.variance];
  inputs.differentiate(output, ...beliefs, ...elsewhere);
}

export default {
  everyWidth(inputs, channels) {
    const real = inputs.tensor([4, channels, HEIGHT, WIDTH]);
    const inner = scale(real, 2);
    const carried = inputs.tensor([4 + SPLITS, channels, HEIGHT, WIDTH]);
    const sample = inputs.random;
    const options = { gain: 0.1, relu: true };
    const learned = sigmoid(inputs.tensor([channels]));
    const affine = inputs.affine(channels);
    const none = { gamma: null, beta: null };
    const averages = { mean: inputs.tensor([channels]), variance: inputs.positive(channels) };
    const running = { ...averages, momentum: 0.1, correction: 1, allSplits: false };
    filter(inputs, real, null, affine, { ...options, sample, running });
    filter(inputs, inner, inputs.belief(channels), affine, { ...options, gain: learned, sample }, relu(inner));
    filter(inputs, carried, 'carried', affine, {
      ...options,
      sample: inputs.tensor([SPLITS, channels, HEIGHT, WIDTH]),
    });
    filter(inputs, carried, 'carried', none, { ...options, relu: false });
    // A prior that the guard drops.
    filter(inputs, real, inputs.belief(channels), none, { ...options, guard: 1e-6 });
    const sum = kalmanResidual(inputs.tensor(real.shape), inputs.belief(channels), carried);
    inputs.differentiate(sum.output, sum.prior.mean, sum.prior.variance);
  },

  once(inputs) {
    const x = inputs.tensor([2, MANY_CHANNELS, 2, 1]);
    filter(inputs, x, inputs.belief(MANY_CHANNELS), inputs.affine(MANY_CHANNELS), { gain: 0.2 });
    filter(inputs, inputs.tensor([4, 13, LARGE, LARGE]), 'carried', inputs.affine(13), { gain: 0.2 });
  },
} satisfies Family;
