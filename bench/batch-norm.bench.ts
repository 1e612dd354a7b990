import { batchNorm } from '../lib/index.js';
import type { Room } from './support/case.js';
import { activations, affine } from './support/operands.js';
import { operationCases, operationShapes } from './support/operation.js';

/** Batch normalization with ReLU: over the whole batch, and in micro-batches of 2 (split BN). */
export const batchNormRoom: Room = ({ smoke }) =>
  operationShapes(smoke).flatMap((shape) => {
    const [samples, channels] = shape;
    return [1, samples / 2].flatMap((splits) =>
      operationCases({
        name: `batch-norm S=${splits}`,
        shape,
        traffic: { forward: 2, backward: 3 },
        make(device) {
          const x = activations(device, shape);
          const parameters = affine(device, channels);
          return () => [batchNorm(x, parameters, { splits, relu: true }).output];
        },
      }),
    );
  });
