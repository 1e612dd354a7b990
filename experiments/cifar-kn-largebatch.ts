import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Kalman normalization of the whole batch of 128; the reference has p_rate 0.05. */
export const experiment: Experiment = {
  name: 'cifar-kn-largebatch',
  label: 'KN, batch 128',
  n: 18,
  norm: { type: 'kalman', splits: 1 },
  reference: { type: 'reference-kalman', splits: 1, gain: 0.95 },
};

await main(experiment, import.meta.url);
