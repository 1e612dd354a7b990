import type { BenchArguments } from './arguments.js';
import type { Machine } from './machine.js';
import type { Row } from './table.js';

/** A case that couldn't be measured. */
export interface Failure {
  /** Of the case. */
  name: string;
  reason: string;
}

/** What `npm run bench -- --json FILE` writes, anew after each case. */
export interface BenchResults {
  machine: Machine;
  options: BenchArguments;
  rows: Row[];
  failures: Failure[];
}
