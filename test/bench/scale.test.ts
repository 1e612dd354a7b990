import test from 'ava';
import { allReduceTime, fitNetwork, gradients, syncBatchNorm } from '../../bench/scale/cost.js';

const network = { latency: 1e-5, bandwidth: 1e10 };

test('an all-reduce: a ring for long messages, a tree for short ones among many', (t) => {
  t.is(allReduceTime(1, 1e6, network), 0);
  // Two messages of half a megabyte.
  t.is(allReduceTime(2, 1e6, network), 2 * (1e-5 + 0.5e-4));
  t.is(allReduceTime(64, 4, network), 2 * (6 * 1e-5 + 4 / 1e10));
});

test('one process sends nothing; SyncBN sends two messages a layer', (t) => {
  const traffic = { gradientBytes: 1000, channels: [16, 32] };
  t.deepEqual(gradients(1, traffic, network), { count: 0, bytes: 0, seconds: 0 });
  t.deepEqual(syncBatchNorm(1, traffic, network), { count: 0, bytes: 0, seconds: 0 });
  const { count, bytes, seconds } = syncBatchNorm(2, traffic, network);
  t.is(count, 4);
  t.is(bytes, 4 * (33 + 32 + 65 + 64));
  t.true(seconds > 4 * 2 * network.latency);
});

test('a network is found again from the times of its messages', (t) => {
  const timed = (bytes: number) => ({ bytes, seconds: allReduceTime(2, bytes, network) });
  const { latency, bandwidth } = fitNetwork(timed(4), timed(2 ** 20));
  t.true(Math.abs(latency / network.latency - 1) < 1e-9);
  t.true(Math.abs(bandwidth / network.bandwidth - 1) < 1e-9);
});
