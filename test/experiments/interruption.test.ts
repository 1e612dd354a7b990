import { once } from 'node:events';
import test from 'ava';
import { exitCodeOf, interruption, wasInterrupted } from '../../experiments/interruption.js';

test('exit codes are those of shells', (t) => {
  t.deepEqual((['SIGINT', 'SIGTERM'] as const).map(exitCodeOf), [130, 143]);
  t.deepEqual([0, 1, 130, 137, 143, null].filter(wasInterrupted), [130, 143]);
});

test.serial('the first signal decides, and later ones are told apart', async (t) => {
  for (const [first, second, code] of [
    ['SIGTERM', 'SIGINT', 143],
    ['SIGINT', 'SIGTERM', 130],
  ] as const) {
    const heard: unknown[] = [];
    const interrupt = interruption(
      () => heard.push('first'),
      (signal, after) => heard.push(signal, after >= 0),
    );
    // Waiting for a signal doesn't keep a process.
    const alive = setInterval(() => {}, 1000);
    try {
      t.is(interrupt.exitCode(), 130, 'of what another process stopped');
      for (const signal of [first, second]) {
        const arrived = once(process, signal);
        process.kill(process.pid, signal);
        await arrived;
      }
      t.true(interrupt.signal.aborted);
      t.is(interrupt.exitCode(), code);
      t.deepEqual(heard, ['first', second, true]);
    } finally {
      clearInterval(alive);
      interrupt.release();
    }
  }
});
