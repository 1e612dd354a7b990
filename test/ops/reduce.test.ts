import test from 'ava';
import { argmax, type Format, logSoftmax, max, mean, softmax, sum } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { at, build, reduce } from '../support/reference-arrays.js';

const total = (terms: readonly number[]) => terms.reduce((a, b) => a + b, 0);

const cases: { shape: readonly number[]; format?: Format; axes: readonly number[] }[] = [
  { shape: [1], axes: [0] },
  { shape: [300], axes: [0] },
  { shape: [3, 5], axes: [1] },
  { shape: [7, 3, 5], axes: [0, 2] },
  { shape: [2, 16, 12, 13], axes: [2, 3] },
  { shape: [2, 5, 4, 3], axes: [0, 2, 3] },
  { shape: [3, 24, 2, 3], axes: [1] },
  { shape: [16, 8, 3, 3], format: 'filter', axes: [1, 2, 3] },
  { shape: [2, 3, 1, 4], format: 'plain', axes: [0, 1, 2, 3] },
];

for (const { shape, format, axes } of cases) {
  const title = `${format ?? 'default'} [${shape.join(', ')}] along ${axes.join(', ')}`;
  eachDevice(test, `sum, mean, max: ${title}`, async (t, device, random) => {
    const terms = axes.reduce((product, axis) => product * shape[axis]!, 1);
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...(format && { format }) } },
      run: ({ x }) => [
        sum(x, { axes, keepDims: true }),
        mean(x, { axes, keepDims: true }),
        max(x, { axes, keepDims: true }),
      ],
      reference: ({ x }) => [
        reduce(x, axes, total),
        reduce(x, axes, (values) => total(values) / terms),
        reduce(x, axes, (values) => Math.max(...values)),
      ],
      tolerance: tolerance.sum(terms),
      scale: 1,
    }));
  });
}

eachDevice(test, 'reductions: without the axes, negative ones, all of them', async (t, device) => {
  const x = device.tensor([
    [1, 2, 3],
    [4, 5, 7],
  ]);
  t.deepEqual([sum(x).shape, sum(x, { axes: -1 }).shape, sum(x, { axes: [0] }).shape], [[], [2], [3]]);
  t.is(await sum(x).item(), 22);
  t.deepEqual([...(await mean(x, { axes: -1 }).data())], [2, Math.fround(16 / 3)]);
  t.deepEqual([...(await max(x, { axes: 0 }).data())], [4, 5, 7]);
});

eachDevice(test, 'argmax: the first of the largest, a NaN before all', async (t, device, random) => {
  const rows = device.tensor([
    [1, 3, 3],
    [2, Number.NaN, 5],
    [-1, -2, -Infinity],
    [-Infinity, -Infinity, -Infinity],
  ]);
  t.deepEqual([...(await argmax(rows, 1).data())], [1, 1, 0, 0]);
  const x = random.normals([3, 16, 20, 9]);
  const places = await argmax(device.tensor(Float32Array.from(x.data), x.shape), 2).data();
  const expected = build([3, 16, 1, 9], ([n, c, , w]) => {
    const column = Array.from({ length: 20 }, (_, h) => at(x, [n!, c!, h, w!]));
    return column.indexOf(Math.max(...column));
  });
  t.deepEqual([...places], [...expected.data]);
  t.deepEqual([argmax(rows, 0).shape, argmax(device.ones([2, 1, 3]), -2).shape], [[3], [2, 3]]);
  t.true(Number.isNaN(await max(rows).item()));
});

for (const { shape, axis } of [
  { shape: [5, 10], axis: 1 },
  { shape: [3, 200], axis: -1 },
  { shape: [2, 16, 3, 2], axis: 1 },
]) {
  eachDevice(test, `softmax and logSoftmax: [${shape.join(', ')}] along ${axis}`, async (t, device, random) => {
    const along = axis < 0 ? axis + shape.length : axis;
    await checkOp(t, device, random, () => ({
      inputs: { x: random.normals(shape, 40, 4) },
      run: ({ x }) => [softmax(x, axis), logSoftmax(x, axis)],
      reference: ({ x }) => {
        const sums = reduce(x, [along], (values) => total(values.map((value) => Math.exp(value - 40))));
        const power = (index: readonly number[]) => Math.exp(at(x, index) - 40) / at(sums, index);
        return [build(shape, power), build(shape, (index) => Math.log(power(index)))];
      },
      // The inputs are rounded to 2^-19 around 40 once the largest is subtracted.
      tolerance: 4 * tolerance.elementwise,
      gradientTolerance: 4 * tolerance.sum(shape[along]!),
      scale: 1,
    }));
  });
}

eachDevice(test, 'reductions: wrong axes are typed errors', (t, device) => {
  const x = device.ones([2, 3]);
  t.throws(() => sum(x, { axes: 2 }), { code: 'INVALID_ARGUMENT', message: /sum: expected an axis from -2 to 1/ });
  t.throws(() => mean(x, { axes: [0, -2] }), { code: 'INVALID_ARGUMENT', message: /axes must differ/ });
  t.throws(() => argmax(x, 5), { code: 'INVALID_ARGUMENT' });
});
