import test from 'ava';
import { referenceSchedule, stepSchedule } from '../../lib/index.js';

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
});
