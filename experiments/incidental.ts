import type { Configuration } from './options.js';

/** Fields of a configuration that say how a run goes, not what it gives. */
export const incidental: readonly (keyof Configuration)[] = [
  'flags',
  'resume',
  'force',
  'overwrite',
  'checkpointEvery',
  'keep',
  'histograms',
  'diagnose',
];
