/** A process of `npm run predict:scale -- --check`: times all-reduces; rank 0 prints them, one JSON line. */

import { openProcessGroup } from '../../lib/index.js';
import { median } from '../support/statistics.js';

const sizes = process.argv.slice(2).map(Number);
const group = await openProcessGroup();
const times: { bytes: number; seconds: number }[] = [];
for (const bytes of sizes) {
  const values = new Float32Array(bytes / 4);
  const rounds: number[] = [];
  // The first rounds warm up.
  for (let round = -5; round < 40; round++) {
    await group.barrier();
    const begin = performance.now();
    await group.allReduce(values);
    if (round >= 0) rounds.push((performance.now() - begin) / 1000);
  }
  times.push({ bytes, seconds: median(rounds) });
}
if (group.rank === 0) console.log(JSON.stringify(times));
group.close();
