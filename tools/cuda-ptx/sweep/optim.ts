import { Adam, backward, LossScaler, Sgd, scale } from '../../../lib/index.js';
import type { Family } from '../inputs.js';

export default {
  /** A gradient that overflows under a loss scale. */
  once(inputs) {
    const { device } = inputs;
    const weights = ['w', 'v'].map((name, i) => [name, inputs.tensor([9, 500 + i])] as const);
    const parameters = new Map(weights);
    for (const optimizer of [
      new Sgd(device, parameters, 0.1, { weightDecay: 1e-3, nesterov: true }),
      new Adam(device, parameters, 0.1, { weightDecay: 1e-3 }),
    ]) {
      const scaler = new LossScaler(device, { growthInterval: 1 });
      for (const factor of [1, Number.POSITIVE_INFINITY]) {
        for (const [, weight] of weights) {
          weight.zeroGrad();
          backward(scale(weight, 1), device.full(weight.shape, factor));
        }
        optimizer.step(scaler);
      }
      scaler.dispose();
      optimizer.dispose();
    }
  },
} satisfies Family;
