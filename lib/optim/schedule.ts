import { check } from '../errors.js';

/** Learning rate of an epoch, counted from 1. */
export type Schedule = (epoch: number) => number;

/**
 * Constant steps: starts at `initial`; an entry [e, rate] takes effect after epoch e, from epoch e + 1 on (the meaning
 * of tensorpack's ScheduledHyperParamSetter, which the reference code uses).
 */
export function stepSchedule(initial: number, entries: readonly (readonly [epoch: number, rate: number])[]): Schedule {
  for (const rate of [initial, ...entries.map(([, value]) => value)]) {
    check(
      Number.isFinite(rate) && rate >= 0,
      'INVALID_ARGUMENT',
      `stepSchedule: rates must not be negative, got ${rate}`,
    );
  }
  entries.forEach(([epoch], i) => {
    const before = entries[i - 1]?.[0] ?? Number.NEGATIVE_INFINITY;
    check(epoch >= before, 'INVALID_ARGUMENT', `stepSchedule: epochs must not decrease, got ${epoch} after ${before}`);
  });
  return (epoch) => entries.reduce((rate, [after, value]) => (epoch > after ? value : rate), initial);
}

/** Epochs of the reference's training. */
export const REFERENCE_EPOCHS = 400;

/**
 * The reference's schedule: epoch 1 at 0.01, then 0.1 to epoch 82, 0.01 to 123, 0.001 to 300, 0.0002 to 400 (SEMANTICS
 * of the original code: entries take effect after their epoch). For another number of epochs all but the first change
 * are moved in proportion; then at least the first epoch warms up.
 *
 * @param epochs of the whole training; default 400
 * @param rate of the main phase; the others keep their ratio to it; default 0.1
 */
export function referenceSchedule(epochs = REFERENCE_EPOCHS, rate = 0.1): Schedule {
  check(
    Number.isInteger(epochs) && epochs >= 1,
    'INVALID_ARGUMENT',
    `schedule: epochs must be a whole number of at least 1, got ${epochs}`,
  );
  const at = (epoch: number) => Math.max(1, Math.round((epoch * epochs) / REFERENCE_EPOCHS));
  return stepSchedule(0.1 * rate, [
    [1, rate],
    [at(82), 0.1 * rate],
    [at(123), 0.01 * rate],
    [at(300), 0.002 * rate],
  ]);
}
