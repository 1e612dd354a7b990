import { kalmanNorm } from '../lib/index.js';
import type { Suite } from './support/case.js';
import { activations, affine, standardBelief } from './support/operands.js';
import { type Operation, operationCases, operationShapes, type Shape } from './support/operation.js';

const gain = 0.1;

/**
 * Kalman normalization with ReLU, in micro-batches of 2 and over the whole batch: `sampled` as within a block, with the
 * prior's virtual samples behind the real ones and new ones drawn behind the output; `analytic` with a given belief.
 */
export const kalmanSuite: Suite = ({ smoke }) =>
  operationShapes(smoke)
    .flatMap((shape) => [shape[0] / 2, 1].flatMap((splits) => [sampled(shape, splits), analytic(shape, splits)]))
    .flatMap(operationCases);

function sampled(shape: Shape, splits: number): Operation {
  const [samples, channels, height, width] = shape;
  const share = (samples + splits) / samples;
  return {
    name: `kalman sampled S=${splits}`,
    shape,
    traffic: { forward: 2 * share, backward: 3 * share },
    make(device, random) {
      const x = activations(device, [samples + splits, channels, height, width]);
      const parameters = affine(device, channels);
      const options = { splits, gain, relu: true, sample: random };
      return () => [kalmanNorm(x, 'carried', parameters, options).output];
    },
  };
}

function analytic(shape: Shape, splits: number): Operation {
  const [, channels] = shape;
  return {
    name: `kalman analytic S=${splits}`,
    shape,
    traffic: { forward: 2, backward: 3 },
    make(device) {
      const x = activations(device, shape);
      const parameters = affine(device, channels);
      const prior = standardBelief(device, splits, channels);
      return () => {
        const { output, posterior } = kalmanNorm(x, prior, parameters, { splits, gain, relu: true });
        return [output, posterior.mean, posterior.variance];
      };
    },
  };
}
