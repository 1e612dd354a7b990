import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Batch normalization of micro-batches of 2: a batch of 128 in 64 splits. */
export const experiment: Experiment = {
  name: 'cifar-bn-microbatch',
  label: 'BN, micro-batch 2',
  n: 5,
  norm: { type: 'batch', splits: 64 },
};

await main(experiment, import.meta.url);
