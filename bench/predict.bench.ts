import type { Transition } from '../lib/index.js';
import { predict } from '../lib/kalman/index.js';
import type { Suite } from './support/case.js';
import { standardBelief } from './support/operands.js';
import { operationCases, type Shape } from './support/operation.js';
import { normalValues } from './support/values.js';

const transitions: readonly Transition[] = ['sampled', 'analytic'];

/**
 * The Kalman filter's prediction through a 3 × 3 convolution, on its own. In networks the sampled one costs less than
 * here, where its images don't ride along with the real ones.
 */
export const predictSuite: Suite = ({ smoke }) => {
  const shapes: Shape[] = smoke
    ? [[4, 8, 6, 6]]
    : [
        [128, 16, 32, 32],
        [128, 32, 16, 16],
        [128, 64, 8, 8],
      ];
  return shapes.flatMap((shape) => {
    const [samples, channels, height, width] = shape;
    return [samples / 2, 1].flatMap((splits) =>
      transitions.flatMap((transition) =>
        operationCases({
          name: `predict ${transition} S=${splits}`,
          shape,
          traffic: null,
          make(device, noise) {
            const belief = standardBelief(device, splits, channels);
            const filter = [channels, channels, 3, 3];
            const weight = device.tensor(normalValues(9 * channels ** 2), filter, {
              format: 'filter',
              requiresGrad: true,
            });
            const options = { padding: 'same', height, width, transition, noise } as const;
            return () => {
              const prior = predict(belief, weight, options);
              return [prior.mean, prior.variance];
            };
          },
        }),
      ),
    );
  });
};
