import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Group normalization with 4 groups. */
export const experiment: Experiment = {
  name: 'cifar-gn',
  label: 'GN',
  n: 5,
  norm: { type: 'group', groups: 4 },
};

await main(experiment, import.meta.url);
