import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Kalman normalization of micro-batches of 2: a batch of 128 in 64 splits; the reference has p_rate 0.9. */
export const experiment: Experiment = {
  name: 'cifar-kn-microbatch',
  label: 'KN, micro-batch 2',
  n: 5,
  norm: { type: 'kalman', splits: 64 },
  reference: { type: 'reference-kalman', splits: 64, gain: 0.1 },
};

await main(experiment, import.meta.url);
