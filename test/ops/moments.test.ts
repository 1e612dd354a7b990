import test from 'ava';
import { addWithMoments, batchNorm, moments } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { closeTo, ROUNDOFF, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { SEED, TestRandom } from '../support/random.js';
import * as reference from '../support/reference.js';

const cases: { shape: readonly number[]; splits: number }[] = [
  { shape: [5, 1, 1, 2], splits: 5 },
  { shape: [3, 5, 7, 3], splits: 1 },
  { shape: [4, 12, 5, 5], splits: 2 },
  { shape: [8, 24, 3, 5], splits: 4 },
  { shape: [128, 3, 3, 3], splits: 64 },
  { shape: [2, 8, 13, 11], splits: 1 },
  { shape: [16, 16, 1, 1], splits: 2 },
  { shape: [32, 5], splits: 4 },
];

for (const { shape, splits } of cases) {
  eachDevice(test, `moments: [${shape}] in ${splits}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals(shape, 0.5, 1.5) },
      run: ({ x }) => {
        const { mean, variance } = moments(x, splits);
        return [mean, variance];
      },
      reference: ({ x }) => {
        const { mean, variance } = reference.moments(x, splits);
        return [mean, variance];
      },
      tolerance: tolerance.normalization,
    }));
  });

  eachDevice(test, `addWithMoments: [${shape}] in ${splits}`, async (t, device, random) => {
    const inPlace = random.uniform() < 0.5;
    await checkOp(t, device, random, () => ({
      inputs: { a: random.normals(shape), b: random.normals(shape, 1) },
      run: ({ a, b }) => {
        const out = addWithMoments(a, b, splits, { inPlace });
        const known = out.moments!;
        return [out, known.mean.detach(), known.variance.detach()];
      },
      reference: ({ a, b }) => {
        const out = reference.add(a, b);
        const { mean, variance } = reference.moments(out, splits);
        return [out, mean, variance];
      },
      tolerance: tolerance.normalization,
    }));
  });

  // Two values normalize to ±1 wherever they lie: the gradient is the rest of a cancellation.
  if (shape.join() === '5,1,1,2') continue;
  eachDevice(test, `addWithMoments: into batchNorm, [${shape}] in ${splits}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { a: random.normals(shape), b: random.normals(shape, 1) },
      run: ({ a, b }) => [batchNorm(addWithMoments(a, b, splits), { gamma: null, beta: null }, { splits }).output],
      reference: ({ a, b }) => [reference.batchNorm(reference.add(a, b), splits)],
      tolerance: tolerance.normalization,
    }));
  });
}

eachDevice(test, 'moments: only the mean or only the variance is used', async (t, device, random) => {
  for (const used of ['mean', 'variance'] as const) {
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals([4, 5, 3, 3], 1) },
      run: ({ x }) => [moments(x, 2)[used]],
      reference: ({ x }) => [reference.moments(x, 2)[used]],
      tolerance: tolerance.normalization,
    }));
  }
});

eachDevice(test, 'addWithMoments: without splits only the sum', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { a: random.normals([3, 5, 4, 3]), b: random.normals([3, 5, 4, 3]) },
    run: ({ a, b }) => {
      const out = addWithMoments(a, b, 0);
      t.is(out.moments, null);
      return [out];
    },
    reference: ({ a, b }) => [reference.add(a, b)],
    tolerance: tolerance.exact,
  }));
});

/** Ten million values a channel around a large mean, with variance 1: one pass in float32 would lose the variance. */
const huge = (() => {
  const shape: readonly number[] = [10, 2, 1000, 1001];
  let made: { values: Float32Array; statistics: reference.Statistics } | null = null;
  return {
    shape,
    get() {
      if (made) return made;
      const random = new TestRandom('huge', SEED);
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      // Uniform of variance 1; channel 1 lies on the other side of zero.
      for (let i = 0; i < values.length; i++) {
        const sign = Math.floor(i / (1000 * 1001)) % 2 === 0 ? 1 : -1;
        values[i] = sign * 1e4 + random.uniform(-Math.sqrt(3), Math.sqrt(3));
      }
      const statistics = reference.moments({ shape, data: Float64Array.from(values) }, 1);
      made = { values, statistics };
      return made;
    },
  };
})();

eachDevice(test, 'moments: 10^7 values a channel, mean 10^4 and variance 1', async (t, device) => {
  const { values, statistics } = huge.get();
  const x = device.tensor(values, huge.shape);
  const { mean, variance } = moments(x);
  closeTo(t, await mean.data(), statistics.mean.data, ROUNDOFF, 'mean');
  // Around the mean as float32 holds it the variance is (10^4·ROUNDOFF)² larger; the rest is rounding of x - pivot.
  closeTo(t, await variance.data(), statistics.variance.data, tolerance.elementwise, 'variance');
  for (const tensor of [x, mean, variance]) tensor.dispose();
  device.trimMemory();
});

eachDevice(test, 'moments: a constant channel has variance 0, whatever its value', async (t, device) => {
  const x = device.full([4, 3, 17, 9], 1234.567);
  const { mean, variance } = moments(x, 2);
  closeTo(t, await mean.data(), new Array(6).fill(Math.fround(1234.567)), ROUNDOFF, 'mean');
  t.deepEqual([...(await variance.data())], new Array(6).fill(0));
});
