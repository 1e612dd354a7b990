import {
  Adam,
  backward,
  clipGradNorm,
  clipGradValue,
  LossScaler,
  Sgd,
  scale,
  WeightAverage,
} from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** A gradient that is clipped, and one that isn't finite under a loss scale. */
  once(inputs) {
    const { device } = inputs;
    const shapes = { w: [9, 500], v: [9, 501], filter: [8, 8, 3, 3], odd: [3, 1, 3, 3] };
    const weights = Object.entries(shapes).map(
      ([name, shape]) => [name, inputs.tensor(shape, shape.length === 4 ? 'filter' : 'plain')] as const,
    );
    const parameters = new Map(weights);
    const average = new WeightAverage(device, parameters, { warmUp: true });
    for (const optimizer of [
      new Sgd(device, parameters, 0.1, { weightDecay: 1e-3, nesterov: true }),
      new Adam(device, parameters, 0.1, { weightDecay: 1e-3 }),
    ]) {
      const scaler = new LossScaler(device, { growthInterval: 1 });
      for (const factor of [1, Number.NaN]) {
        for (const [, weight] of weights) {
          weight.zeroGrad();
          backward(scale(weight, 1), device.full(weight.shape, factor, { format: weight.format }));
        }
        clipGradValue(parameters, 0.5, scaler);
        clipGradNorm(parameters, 2, scaler);
        optimizer.step(scaler);
        average.update();
      }
      scaler.dispose();
      optimizer.dispose();
    }
    average.dispose();
  },
} satisfies Family;
