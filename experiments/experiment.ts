import type { NormSpec } from '../lib/index.js';

/** The filter as the paper's authors coded it. */
export type ReferenceSpec = Extract<NormSpec, { type: 'reference-kalman' }>;

/** What is particular to an experiment: its name, its curve's label, and its defaults. */
export interface Experiment {
  /** Of the script and, by default, of the run's folder. */
  name: string;
  /** Of the curve in reports. */
  label: string;
  /** Blocks a stage; the network has 6n + 2 layers. */
  n: number;
  norm: NormSpec;
  /** With `--preset reference`: the filter as the paper's authors coded it. */
  reference?: ReferenceSpec;
  /** Whether `--norm` says which normalization it is; the label gets the size of the micro-batches. */
  anyNorm?: boolean;
}
