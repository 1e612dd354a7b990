import type { ExecutionContext, TestFn } from 'ava';
import { Belief, type Device, type ErrorCode, KalmanNormError, openDevice } from '../../lib/index.js';

/** A call that must fail: its title, what it does, the code, and what the message must say. */
export type Failure = [title: string, call: (device: Device) => unknown, code: ErrorCode, message: RegExp];

export const image = (device: Device, n = 4, c = 6, h = 3, w = 5) => device.ones([n, c, h, w]);
export const filter = (device: Device, shape = [5, 6, 3, 3]) => device.full(shape, 1, { format: 'filter' });
export const ints = (device: Device, n = 4) => device.tensor(new Int32Array(n));
export const none = { gamma: null, beta: null };
export const belief = (device: Device, cells: number, splits: number) =>
  new Belief(device.zeros([cells]), device.ones([cells]), splits);

/** Defines a test for each call. Errors come before anything is enqueued, on one device as on all. */
export function failures(test: TestFn, group: string, calls: readonly Failure[]): void {
  for (const [title, call, code, message] of calls) {
    test(`${group}: ${title}`, (t: ExecutionContext) => {
      using device = openDevice('cpu', { threads: 1 });
      const error = t.throws(() => call(device), { instanceOf: KalmanNormError });
      t.is(error.code, code, error.message);
      t.regex(error.message, message);
    });
  }
}
