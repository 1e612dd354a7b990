import { check } from '../errors.js';
import { checkOptions } from '../options.js';
import { checkPositive } from './checks.js';

/**
 * Learning rate by time. Time is counted from 1, in epochs or in steps: whichever a schedule is asked by, its lengths are
 * in too. A {@link Trainer} asks its option `schedule` by steps; `optimizer.learningRate = schedule(epoch)` before each
 * epoch asks by epochs.
 */
export type Schedule = (time: number) => number;

/**
 * Constant steps: starts at `initial`; an entry [e, rate] takes effect after epoch e, from epoch e + 1 on (the meaning
 * of tensorpack's ScheduledHyperParamSetter, which the reference code uses).
 */
export function stepSchedule(initial: number, entries: readonly (readonly [epoch: number, rate: number])[]): Schedule {
  check(
    Array.isArray(entries) && entries.every(Array.isArray),
    'INVALID_ARGUMENT',
    () => `stepSchedule: entries must be an array of pairs [epoch, rate], got ${String(entries)}`,
  );
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

/**
 * Half a cosine from `initial` down to `final` (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts; PyTorch's
 * CosineAnnealingLR):
 *
 *     final + (initial - final)·(1 + cos(π·(time - 1) / length)) / 2
 *
 * The rate is `final` from `length` + 1 on.
 *
 * @param length of the whole training, in epochs or steps
 * @param final default 0
 */
export function cosineSchedule(length: number, initial: number, final = 0): Schedule {
  checkLength('cosineSchedule: length', length);
  checkRates('cosineSchedule', { initial, final });
  return (time) => cosine(initial, final, passed(time, length));
}

/**
 * A power of what is left of the time (Chen et al., DeepLab, 2017, with 0.9; 1 is a straight line):
 *
 *     final + (initial - final)·(1 - (time - 1) / length)^power
 *
 * @param length of the whole training, in epochs or steps
 */
export function polynomialSchedule(
  length: number,
  initial: number,
  options: { /** Default 1. */ power?: number /** Default 0. */; final?: number } = {},
): Schedule {
  checkOptions('polynomialSchedule', options, { power: true, final: true });
  const { power = 1, final = 0 } = options;
  checkLength('polynomialSchedule: length', length);
  checkRates('polynomialSchedule', { initial, final });
  checkPositive('polynomialSchedule: power', power);
  return (time) => final + (initial - final) * (1 - passed(time, length)) ** power;
}

/**
 * The same factor from each epoch or step to the next: initial·factor^(time - 1).
 *
 * @param factor positive, at most 1
 */
export function exponentialSchedule(initial: number, factor: number): Schedule {
  checkRates('exponentialSchedule', { initial });
  checkPositive('exponentialSchedule: factor', factor);
  check(factor <= 1, 'INVALID_ARGUMENT', `exponentialSchedule: factor must be at most 1, got ${factor}`);
  return (time) => initial * factor ** (time - 1);
}

/** Options of {@link oneCycleSchedule}. */
export interface OneCycleOptions {
  /** Share of the time in which the rate rises; above 0 and below 1, default 0.3. */
  rise?: number;
  /** The first rate is the highest divided by this; default 25. */
  initialDivisor?: number;
  /** The last rate is the first divided by this; default 10,000. */
  finalDivisor?: number;
}

/**
 * One rise and one fall, both of half a cosine (Smith and Topin, Super-convergence, 2018; PyTorch's OneCycleLR): from
 * highest / initialDivisor at time 1 to `highest` at time rise·length, and down to the first rate / finalDivisor at time
 * `length`. Meant for steps.
 *
 * @param length of the whole training, in steps or epochs; at least 2
 * @param highest rate
 */
export function oneCycleSchedule(length: number, highest: number, options: OneCycleOptions = {}): Schedule {
  checkOptions('oneCycleSchedule', options, { rise: true, initialDivisor: true, finalDivisor: true });
  const { rise = 0.3, initialDivisor = 25, finalDivisor = 1e4 } = options;
  checkLength('oneCycleSchedule: length', length);
  check(length >= 2, 'INVALID_ARGUMENT', `oneCycleSchedule: length must be at least 2, got ${length}`);
  checkRates('oneCycleSchedule', { highest });
  check(rise > 0 && rise < 1, 'INVALID_ARGUMENT', `oneCycleSchedule: rise must be between 0 and 1, got ${rise}`);
  checkPositive('oneCycleSchedule: initialDivisor', initialDivisor);
  checkPositive('oneCycleSchedule: finalDivisor', finalDivisor);
  const first = highest / initialDivisor;
  const top = Math.max(1, rise * length);
  return (time) =>
    time <= top
      ? cosine(highest, first, top > 1 ? 1 - (time - 1) / (top - 1) : 0)
      : cosine(highest, first / finalDivisor, Math.min(1, (time - top) / (length - top)));
}

/**
 * Puts a linear rise before a schedule (Goyal et al., Accurate, large minibatch SGD, 2017): from `start` times the
 * schedule's first rate in equal steps, which would reach it at time `length` + 1, where the schedule begins.
 *
 * @param length of the rise, in the schedule's epochs or steps
 * @param start share of the first rate to begin with; from 0 to 1, default 0.1
 *
 * @example
 * const schedule = warmUp(5, cosineSchedule(95, 0.1)); // 100 epochs
 */
export function warmUp(length: number, schedule: Schedule, start = 0.1): Schedule {
  checkLength('warmUp: length', length);
  check(
    typeof schedule === 'function',
    'INVALID_ARGUMENT',
    () => `warmUp: schedule must be a function, got ${String(schedule)}`,
  );
  check(start >= 0 && start <= 1, 'INVALID_ARGUMENT', `warmUp: start must be between 0 and 1, got ${start}`);
  const first = schedule(1);
  return (time) => (time > length ? schedule(time - length) : first * (start + ((1 - start) * (time - 1)) / length));
}

/** Half a cosine from one value to another. */
function cosine(from: number, to: number, share: number): number {
  return to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2;
}

/** The share of the length that has passed before a time. */
function passed(time: number, length: number): number {
  return Math.min(1, (time - 1) / length);
}

function checkLength(name: string, length: number): void {
  check(
    Number.isInteger(length) && length >= 1,
    'INVALID_ARGUMENT',
    `${name} must be a whole number of at least 1, got ${length}`,
  );
}

function checkRates(name: string, rates: Readonly<Record<string, number>>): void {
  for (const [key, rate] of Object.entries(rates)) {
    check(
      Number.isFinite(rate) && rate >= 0,
      'INVALID_ARGUMENT',
      `${name}: ${key} must be a finite number of at least 0, got ${rate}`,
    );
  }
}

function proportion(epochs: number, of: number): (epoch: number) => number {
  checkLength('schedule: epochs', epochs);
  return (epoch) => Math.max(1, Math.round((epoch * epochs) / of));
}
