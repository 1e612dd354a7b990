/** A process of a group, for tests of collectives and of faults: `member.ts WHAT`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openProcessGroup } from '../../lib/index.js';

const [what = ''] = process.argv.slice(2);
const own = Number(process.env.KALMAN_NORM_RANK);
const group = await openProcessGroup({
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
