import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Batch normalization of the whole batch of 128. */
export const experiment: Experiment = {
  name: 'cifar-bn-largebatch',
  label: 'BN, batch 128',
  n: 18,
  norm: { type: 'batch', splits: 1 },
};

await main(experiment, import.meta.url);
