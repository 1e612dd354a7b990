import test from 'ava';
import { SEED } from '../support/random.js';
import { fuzz } from './run.js';
import { disposeTargets, targets } from './targets.js';

test.after.always(disposeTargets);

for (const target of targets) {
  // Serial: memory is counted for the whole process.
  test.serial(`${target.name}: damaged files are refused with a typed error, in time, within memory`, async (t) => {
    const { accepted, refused } = await fuzz(target, Math.max(60, 2000 * target.share), SEED);
    // Both happen: a generator that makes nothing but noise would test nothing.
    t.true(accepted > 0);
    t.true(Object.keys(refused).length > 0);
  });
}
