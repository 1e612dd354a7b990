import test from 'ava';
import { Conv2d, HostRandom, Linear, openDevice, truncatedNormal, varianceScaling } from '../../lib/index.js';
import { dot, sum } from '../support/array.js';

/** Standard deviation of a standard normal variable cut at ±2, by numerical integration. */
const TRUNCATED = (() => {
  const steps = 20_000;
  let [weight, squares] = [0, 0];
  for (let i = 0; i < steps; i++) {
    const z = -2 + (4 * (i + 0.5)) / steps;
    weight += Math.exp((-z * z) / 2);
    squares += z * z * Math.exp((-z * z) / 2);
  }
  return Math.sqrt(squares / weight);
})();

/** Checks mean and deviation to six standard errors; seeds are fixed. */
function spread(values: Float32Array): { std: number; mean: number; error: number } {
  const n = values.length;
  const mean = sum(values) / n;
  return { std: Math.sqrt(dot(values, values) / n - mean * mean), mean, error: 6 / Math.sqrt(n) };
}

test('truncatedNormal: cut at two deviations, with the deviation that is left', (t) => {
  const values = truncatedNormal(new HostRandom(1), 50_000, 0.5);
  const { std, mean, error } = spread(values);
  t.true(values.every((value) => Math.abs(value) <= 1));
  t.true(values.some((value) => Math.abs(value) > 0.98));
  t.true(Math.abs(std / (0.5 * TRUNCATED) - 1) < error, `std ${std}`);
  t.true(Math.abs(mean) < 0.5 * error);
});

const shapes: { shape: number[]; fanIn: number; fanOut: number }[] = [
  { shape: [64, 32, 3, 3], fanIn: 288, fanOut: 576 },
  { shape: [32, 64, 5, 5], fanIn: 1600, fanOut: 800 },
  { shape: [120, 80], fanIn: 120, fanOut: 80 },
];
for (const { shape, fanIn, fanOut } of shapes) {
  for (const fan of ['in', 'out'] as const) {
    for (const variance of ['before', 'after'] as const) {
      test(`varianceScaling: [${shape}], fan ${fan}, variance ${variance} the cut`, (t) => {
        const { std, error } = spread(varianceScaling(new HostRandom(2), shape, { fan, variance, scale: 1.5 }));
        const nominal = Math.sqrt(1.5 / (fan === 'in' ? fanIn : fanOut));
        t.true(Math.abs(std / (variance === 'before' ? nominal * TRUNCATED : nominal) - 1) < error, `std ${std}`);
      });
    }
  }
}

test('Conv2d and Linear start as in the reference code', async (t) => {
  using device = openDevice('cpu', { threads: 1 });
  const conv = new Conv2d(device, 64, 64, 3, { random: new HostRandom(4) });
  const filter = spread((await conv.weight.data()) as Float32Array);
  t.true(Math.abs(filter.std / (TRUNCATED * Math.sqrt(2 / 576)) - 1) < filter.error);
  const linear = new Linear(device, 64, 500, { random: new HostRandom(4) });
  const matrix = spread((await linear.weight.data()) as Float32Array);
  t.true(Math.abs(matrix.std / (TRUNCATED * Math.sqrt((1.3 * 2) / 64)) - 1) < matrix.error);
  t.true(Math.abs(matrix.std - 0.1773) < 0.004);
  t.true((await linear.bias!.data()).every((value) => value === 0));
});

test('the same seed gives the same values', (t) => {
  const draw = (seed: number) => [...varianceScaling(new HostRandom(seed), [4, 3, 3, 3])];
  t.deepEqual(draw(5), draw(5));
  t.notDeepEqual(draw(5), draw(6));
});

test('errors', (t) => {
  t.throws(() => varianceScaling(new HostRandom(0), [3]), {
    code: 'SHAPE_MISMATCH',
    message: /varianceScaling.*\[3\]/,
  });
  for (const std of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => truncatedNormal(new HostRandom(0), 1, std), { code: 'INVALID_ARGUMENT', message: /std/ });
  }
});
