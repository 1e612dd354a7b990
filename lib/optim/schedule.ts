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
 * The reference's schedule: epoch 1 at 0.01, then 0.1 to epoch 82, 0.01 to 123, 0.001 to 300, 0.0002 to 400. For another
 * number of epochs all changes but the first are moved in proportion.
 *
 * @param epochs of the whole training; default 400
 * @param rate of the main phase; the others keep their ratio to it; default 0.1
 */
export function referenceSchedule(epochs = REFERENCE_EPOCHS, rate = 0.1): Schedule {
  const at = proportion(epochs, REFERENCE_EPOCHS);
  return stepSchedule(rate / 10, [
    [1, rate],
    [at(82), rate / 10],
    [at(123), rate / 100],
    [at(300), rate / 500],
  ]);
}

/**
 * A schedule for a few epochs, of which the reference's would spend most at small rates: epoch 1 at a tenth of the rate,
 * then the rate to 55 % of the epochs, a tenth to 85 %, a hundredth to the end. One or two epochs don't warm up: the
 * first has the rate, a second a tenth of it.
 *
 * @param epochs of the whole training
 * @param rate of the main phase; default 0.1
 */
export function shortSchedule(epochs: number, rate = 0.1): Schedule {
  const at = proportion(epochs, 100);
  if (epochs <= 2) return stepSchedule(rate, [[1, rate / 10]]);
  return stepSchedule(rate / 10, [
    [1, rate],
    [at(55), rate / 10],
    [at(85), rate / 100],
  ]);
}

function proportion(epochs: number, of: number): (epoch: number) => number {
  check(
    Number.isInteger(epochs) && epochs >= 1,
    'INVALID_ARGUMENT',
    `schedule: epochs must be a whole number of at least 1, got ${epochs}`,
  );
  return (epoch) => Math.max(1, Math.round((epoch * epochs) / of));
}
