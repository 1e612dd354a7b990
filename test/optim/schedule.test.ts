import test from 'ava';
import {
  cosineSchedule,
  exponentialSchedule,
  oneCycleSchedule,
  polynomialSchedule,
  referenceSchedule,
  type Schedule,
  stepSchedule,
  warmUp,
} from '../../lib/index.js';

test('referenceSchedule: the rate of every epoch', (t) => {
  const schedule = referenceSchedule();
  const phases: [first: number, last: number, rate: number][] = [
    [1, 1, 0.01],
    [2, 82, 0.1],
    [83, 123, 0.01],
    [124, 300, 0.001],
    [301, 400, 0.0002],
  ];
  for (const [first, last, rate] of phases) {
    for (let epoch = first; epoch <= last; epoch++) {
      t.true(Math.abs(schedule(epoch) / rate - 1) < 1e-12, `epoch ${epoch}: ${schedule(epoch)}`);
    }
  }
});

test('referenceSchedule: fewer epochs move the changes in proportion, behind one epoch of warming up', (t) => {
  const rates = (epochs: number) =>
    Array.from({ length: epochs }, (_, i) => +referenceSchedule(epochs)(i + 1).toFixed(9));
  t.deepEqual(rates(1), [0.01]);
  t.deepEqual(rates(10), [0.01, 0.1, 0.01, 0.001, 0.001, 0.001, 0.001, 0.001, 0.0002, 0.0002]);
  const forty = rates(40);
  t.deepEqual(
    [forty[0], forty[7], forty[8], forty[11], forty[12], forty[29], forty[30]],
    [0.01, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0002],
  );
});

test('referenceSchedule: another rate keeps the ratios', (t) => {
  const schedule = referenceSchedule(400, 1);
  t.deepEqual(
    [1, 2, 83, 124, 301].map((epoch) => +schedule(epoch).toFixed(9)),
    [0.1, 1, 0.1, 0.01, 0.002],
  );
});

test('stepSchedule: entries take effect after their epoch', (t) => {
  const schedule = stepSchedule(1, [
    [2, 0.5],
    [4, 0],
  ]);
  t.deepEqual([1, 2, 3, 4, 5, 100].map(schedule), [1, 1, 0.5, 0.5, 0, 0]);
});

/** Rates at the times 1, 2, ..., rounded off the noise of float64. */
const rates = (schedule: Schedule, times: number) =>
  Array.from({ length: times }, (_, i) => +schedule(i + 1).toFixed(12));

test('cosineSchedule: half a cosine, then the final rate', (t) => {
  t.deepEqual(rates(cosineSchedule(4, 1), 6), [1, +((2 + Math.SQRT2) / 4).toFixed(12), 0.5, 0.146446609407, 0, 0]);
  t.deepEqual(rates(cosineSchedule(3, 0.4, 0.1), 5), [0.4, 0.325, 0.175, 0.1, 0.1]);
});

test('polynomialSchedule: a straight line, a power, then the final rate', (t) => {
  t.deepEqual(rates(polynomialSchedule(4, 1), 6), [1, 0.75, 0.5, 0.25, 0, 0]);
  t.deepEqual(rates(polynomialSchedule(4, 1.1, { power: 2, final: 0.1 }), 5), [1.1, 0.6625, 0.35, 0.1625, 0.1]);
});

test('exponentialSchedule: a factor from each to the next', (t) => {
  t.deepEqual(rates(exponentialSchedule(0.8, 0.5), 4), [0.8, 0.4, 0.2, 0.1]);
});

test('oneCycleSchedule: up and down as PyTorch has it', (t) => {
  // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10, pct_start=0.4): e counts from 0, rises to 0.4·10 - 1.
  const expected = Array.from({ length: 10 }, (_, e) => {
    const between = (from: number, to: number, share: number) =>
      to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share));
    return +(e <= 3 ? between(0.04, 1, e / 3) : between(1, 0.04 / 1e4, (e - 3) / 6)).toFixed(12);
  });
  t.deepEqual(rates(oneCycleSchedule(10, 1, { rise: 0.4 }), 10), expected);
  const [first, , , top] = expected;
  t.deepEqual([first, top, expected[9]], [0.04, 1, 0.000004]);
  t.deepEqual(rates(oneCycleSchedule(10, 1, { rise: 0.4 }), 12).slice(9), [0.000004, 0.000004, 0.000004]);
  // Without time to rise it begins at the top.
  t.is(oneCycleSchedule(2, 3)(1), 3);
  const own = oneCycleSchedule(100, 2, { initialDivisor: 4, finalDivisor: 10 });
  t.deepEqual([own(1), own(30), +own(100).toFixed(12)], [0.5, 2, 0.05]);
});

test('warmUp: a line to where the schedule begins', (t) => {
  t.deepEqual(rates(warmUp(2, polynomialSchedule(2, 0.8), 0.5), 5), [0.4, 0.6, 0.8, 0.4, 0]);
  t.deepEqual(
    rates(
      warmUp(3, (time) => time, 0),
      5,
    ),
    [0, +(1 / 3).toFixed(12), +(2 / 3).toFixed(12), 1, 2],
  );
  t.is(+warmUp(5, cosineSchedule(95, 0.1))(1).toFixed(12), 0.01);
  t.is(
    warmUp(
      1,
      warmUp(1, () => 1, 0.5),
      0.5,
    )(1),
    0.25,
  );
});

test('schedules: errors', (t) => {
  t.throws(() => stepSchedule(-1, []), { code: 'INVALID_ARGUMENT', message: /stepSchedule: rates .* -1/ });
  t.throws(() => stepSchedule(1, [[1, Number.NaN]]), { code: 'INVALID_ARGUMENT', message: /NaN/ });
  t.throws(
    () =>
      stepSchedule(1, [
        [3, 1],
        [2, 1],
      ]),
    { code: 'INVALID_ARGUMENT', message: /got 2 after 3/ },
  );
  for (const epochs of [0, 1.5, Number.NaN, -3]) {
    t.throws(() => referenceSchedule(epochs), { code: 'INVALID_ARGUMENT', message: /schedule: epochs/ });
  }

  const cases: [call: () => unknown, message: RegExp][] = [
    [() => cosineSchedule(0, 1), /cosineSchedule: length must be a whole number.*got 0/],
    [() => cosineSchedule(10, -1), /cosineSchedule: initial .*got -1/],
    [() => cosineSchedule(10, 1, Number.NaN), /cosineSchedule: final .*got NaN/],
    [() => polynomialSchedule(10, 1, { power: 0 }), /polynomialSchedule: power must be a positive number, got 0/],
    [() => polynomialSchedule(1.5, 1), /polynomialSchedule: length .*got 1\.5/],
    [() => exponentialSchedule(1, 1.1), /exponentialSchedule: factor must be at most 1, got 1\.1/],
    [() => exponentialSchedule(1, 0), /exponentialSchedule: factor .*got 0/],
    [() => oneCycleSchedule(1, 1), /oneCycleSchedule: length must be at least 2, got 1/],
    [() => oneCycleSchedule(9, Number.POSITIVE_INFINITY), /oneCycleSchedule: highest .*got Infinity/],
    [() => oneCycleSchedule(9, 1, { rise: 1 }), /oneCycleSchedule: rise .*got 1/],
    [() => oneCycleSchedule(9, 1, { finalDivisor: 0 }), /oneCycleSchedule: finalDivisor .*got 0/],
    [() => warmUp(0, () => 1), /warmUp: length .*got 0/],
    [() => warmUp(2, 0.1 as never), /warmUp: schedule must be a function, got 0\.1/],
    [() => warmUp(2, () => 1, 2), /warmUp: start must be between 0 and 1, got 2/],
  ];
  for (const [call, message] of cases) t.throws(call, { code: 'INVALID_ARGUMENT', message });
});
