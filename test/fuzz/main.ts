/**
 * `npm run fuzz -- --cases 1000000 --seed 1`: damaged and invented files for every reader of files from elsewhere. Stops
 * at the first fault with the case's number, which `--only TARGET --first NUMBER --cases 1` repeats.
 */

import { parseArgs } from 'node:util';
import { check } from '../../lib/errors.js';
import { fuzz } from './run.js';
import { disposeTargets, targets } from './targets.js';
import { startWatchdog } from './watchdog.js';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    only: { type: 'string' },
    first: { type: 'string', default: '0' },
  },
});
const count = (name: 'cases' | 'seed' | 'first') => {
  const value = Number(values[name]);
  check(
    Number.isSafeInteger(value) && value >= 0,
    'INVALID_ARGUMENT',
    `--${name}: expected a whole number, got ${values[name]}`,
  );
  return value;
};
const [cases, seed, first] = [count('cases'), count('seed'), count('first')];
const chosen = targets.filter(({ name }) => values.only === undefined || values.only === name);
check(
  chosen.length > 0,
  'INVALID_ARGUMENT',
  `--only: expected one of ${targets.map(({ name }) => name).join(', ')}, got ${values.only}`,
);

const kib = (bytes: number) => `${(bytes / 1024).toFixed(0)} KiB`;
console.log(`seed ${seed}`);
const onCase = startWatchdog(
  chosen.map(({ name }) => name),
  seed,
);
try {
  // So many in all; readers of folders get a smaller share.
  const shares = chosen.reduce((sum, { share }) => sum + share, 0);
  for (const target of chosen) {
    const own = Math.ceil((cases * target.share) / shares);
    const { accepted, refused, slowest, memory, heap, duration } = await fuzz(target, own, seed, { first, onCase });
    const codes = Object.entries(refused).map(([code, times]) => `${times} ${code}`);
    const figures = `${(duration / 1000).toFixed(1)} s, slowest ${slowest.toFixed(0)} ms, buffers of ${kib(memory)}, objects of ${kib(heap)}`;
    console.log(`${target.name}: ${own} cases, ${accepted} read, ${codes.join(', ')}; ${figures}`);
  }
  console.log(`most resident memory: ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
} finally {
  disposeTargets();
}
