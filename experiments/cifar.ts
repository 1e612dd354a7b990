import type { Experiment } from './options.js';
import { main } from './runner.js';

/** Any normalization, as `--norm` says; the other experiments are presets of this one. */
export const experiment: Experiment = {
  name: 'cifar',
  label: 'KN',
  n: 5,
  norm: { type: 'kalman' },
  reference: { type: 'reference-kalman', gain: 0.1 },
  anyNorm: true,
};

await main(experiment, import.meta.url);
