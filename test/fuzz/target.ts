import type { ErrorCode } from '../../lib/index.js';
import type { TestRandom } from '../support/random.js';

/** One input, and the reading of it. */
export interface Case {
  /** Bytes of the input: what memory and time are measured by. */
  readonly size: number;
  /** Whether nothing is wrong with the input. */
  readonly valid: boolean;
  /** Reads it. Throws an `Error` that isn't a `KalmanNormError` where a valid one didn't come back as it was. */
  read(): unknown;
}

/** A reader of files. */
export interface Target {
  readonly name: string;
  /** Its share of the cases, next to 1 of most: readers of folders are slow. */
  readonly share: number;
  /** Codes that a refusal may have. */
  readonly codes: readonly ErrorCode[];
  make(random: TestRandom): Case;
  dispose?(): void;
}

/** Whether a case stays valid: one of eight. */
export const isKept = (random: TestRandom) => random.below(8) === 0;
