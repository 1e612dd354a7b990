import { groupNorm } from '../lib/index.js';
import type { Suite } from './support/case.js';
import { activations, affine } from './support/operands.js';
import { operationCases, operationShapes } from './support/operation.js';

/** Group normalization with ReLU, in 4 groups as in the CIFAR networks. */
export const groupNormSuite: Suite = ({ smoke }) =>
  operationShapes(smoke).flatMap((shape) =>
    operationCases({
      name: 'group-norm G=4',
      shape,
      traffic: { forward: 2, backward: 3 },
      make(device) {
        const x = activations(device, shape);
        const parameters = affine(device, shape[1]);
        return () => [groupNorm(x, 4, parameters, { relu: true })];
      },
    }),
  );
