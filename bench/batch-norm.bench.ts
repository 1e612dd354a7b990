import { type BatchNormEngine, batchNorm } from '../lib/index.js';
import type { Suite } from './support/case.js';
import { activations, affine } from './support/operands.js';
import { operationCases, operationShapes } from './support/operation.js';

/**
 * Batch normalization with ReLU: over the whole batch, and in micro-batches of 2 (split BN). On CUDA devices cuDNN's too:
 * in NHWC, as our activations lie.
 */
export const batchNormSuite: Suite = ({ smoke, device: deviceName }) =>
  operationShapes(smoke).flatMap((shape) => {
    const [samples, channels] = shape;
    const settings: { name: string; splits: number; engine: BatchNormEngine }[] = [
      { name: 'batch-norm S=1', splits: 1, engine: 'native' },
      { name: `batch-norm S=${samples / 2}`, splits: samples / 2, engine: 'native' },
    ];
    if (deviceName !== 'cpu') settings.push({ name: 'batch-norm cudnn S=1', splits: 1, engine: 'cudnn' });
    return settings.flatMap(({ name, splits, engine }) =>
      operationCases({
        name,
        shape,
        traffic: { forward: 2, backward: 3 },
        make(device) {
          const x = activations(device, shape);
          const parameters = affine(device, channels);
          return () => [batchNorm(x, parameters, { splits, relu: true, engine }).output];
        },
      }),
    );
  });
