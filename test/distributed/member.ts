/** A process of a group, for tests of collectives and of faults: `member.ts WHAT [DEVICE]`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type KalmanNormError, openDevice, openProcessGroup, SyncBatchNorm2d, scale } from '../../lib/index.js';

const [what = '', name = 'cpu'] = process.argv.slice(2);
const device = openDevice(name, { threads: 1 });
const own = Number(process.env.KALMAN_NORM_RANK);
const group = await openProcessGroup({
  device,
  // Long enough for the last process to start on a busy machine.
  timeout: what === 'hang' ? 20 : 120,
  configuration: what === 'configuration' ? `--seed ${own}` : '',
});
const { rank, size } = group;

if (what === 'collectives') {
  const values = Float32Array.of(rank, 1);
  await group.allReduce(values);
  const mean = Float32Array.of(rank);
  await group.allReduce(mean, 'mean');
  const given = Float32Array.of(rank * 10);
  await group.broadcast(given, 1);
  const all = await group.allGather(Uint8Array.of(rank));
  await group.barrier();
  console.log(
    JSON.stringify({ values: [...values], mean: [...mean], given: [...given], all: all.map(([byte]) => byte) }),
  );
  group.close();
} else if (what === 'enqueued') {
  // A sum, and its recording three times; of two shapes in one call.
  const [a, b] = [device.tensor(Float32Array.of(rank, 1)), device.full([2, 3, 4, 4], 1)];
  group.enqueueAllReduce([a, b], 'mean');
  const { program } = device.record(() => group.enqueueAllReduce([a, b]));
  program.run(3);
  const [first, second] = await group.watch(Promise.all([a.data(), b.data()]));
  console.log(JSON.stringify({ first: [...first], second: [...new Set(second)] }));
  program.dispose();
  group.close();
} else if (what === 'several') {
  // Two reads wait where the second call fails.
  const waiting = [device.ones([4]), device.ones([3])].map((tensor) => {
    group.enqueueAllReduce([tensor]);
    return tensor.data();
  });
  const outcomes = await Promise.allSettled(waiting.map((values) => group.watch(values)));
  console.log(
    JSON.stringify(outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'read'))),
  );
  process.exitCode = 1;
} else if (what === 'beside') {
  // Rank 0's stream has to get past an exchange that rank 1 begins only when rank 0 has read what is behind it.
  const x = device.full([4], rank);
  if (rank === 1) await group.barrier();
  group.startAllReduce([x]);
  const behind = scale(device.ones([4]), 3);
  if (rank === 0) {
    await behind.data();
    await group.barrier();
  }
  group.joinAllReduces();
  const sum = scale(x, 2);
  console.log(JSON.stringify([...(await group.watch(sum.data()))]));
  group.close();
} else if (what === 'mismatch') {
  const values = device.zeros([rank === 1 ? 5 : 4]);
  group.enqueueAllReduce([values]);
  await group.watch(values.data());
} else if (what === 'statistics') {
  await group.barrier();
  if (rank === 1) process.kill(process.pid, 'SIGKILL');
  const norm = new SyncBatchNorm2d(device, 4, { group });
  const outcome = norm.forward(device.ones([2, 4, 3, 3])).data();
  const { code } = await outcome.then(Object, (error: KalmanNormError) => error);
  const told = await group.watch(outcome).catch((error: Error) => error.message);
  console.log(JSON.stringify({ code, told }));
} else if (what === 'wait') {
  console.log(`process ${process.pid}`);
  // The others wait for a call that rank 0 never makes.
  if (rank > 0) await group.barrier();
  await sleep(300_000);
} else {
  for (let step = 1; ; step++) {
    await group.allReduce(new Float32Array(1000));
    if (rank !== size - 1 || step < 20 || process.env.KALMAN_NORM_RESTART === '1') {
      if (step < 40) continue;
      group.close();
      break;
    }
    if (what === 'kill') process.kill(process.pid, 'SIGKILL');
    if (what === 'throw') throw new Error('the data ran out');
    // For longer than the time-out, and awake.
    if (what === 'hang') await sleep(300_000);
  }
}
