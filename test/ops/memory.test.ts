import test from 'ava';
import { add, type Format, reshape, samples, scale } from '../../lib/index.js';
import { map, type NdArray, slice, sum, zip } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';

const reshapes: { from: readonly number[]; fromFormat?: Format; to: readonly number[]; toFormat?: Format }[] = [
  { from: [2, 12, 3, 5], to: [6, 4, 5, 3] },
  { from: [2, 12, 3, 5], to: [360] },
  { from: [360], to: [3, 8, 3, 5] },
  { from: [2, 3, 4, 5], fromFormat: 'plain', to: [2, 3, 4, 5] },
  { from: [2, 3, 4, 5], to: [2, 3, 4, 5], toFormat: 'plain' },
  { from: [3, 5, 1, 1], to: [3, 5] },
  { from: [4, 6], to: [6, 4] },
  { from: [5, 3, 3, 3], fromFormat: 'filter', to: [5, 27] },
  { from: [5, 27], to: [5, 3, 3, 3], toFormat: 'filter' },
];
for (const { from, fromFormat, to, toFormat } of reshapes) {
  const title = `reshape: [${from}] ${fromFormat ?? ''} to [${to}] ${toFormat ?? ''}`;
  eachDevice(test, title, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(from), ...(fromFormat && { format: fromFormat }) } },
      run: ({ x }) => [reshape(x, to, toFormat)],
      reference: ({ x }) => [{ shape: to, data: x.data }],
      tolerance: tolerance.exact,
    }));
  });
}

eachDevice(test, 'samples: ranges, and several of one tensor', async (t, device, random) => {
  const total = (x: NdArray) => ({ shape: [1, ...x.shape.slice(1)], data: slice(x, 0, 1).data });
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([7, 5, 3, 3]) },
    run: ({ x }) => [samples(x, 0, 1), samples(x, 2, 4), samples(x, 3, 4)],
    reference: ({ x }) => [total(x), slice(x, 2, 6), slice(x, 3, 7)],
    tolerance: 2 * tolerance.exact,
  }));
});

eachDevice(test, 'samples: of an intermediate result that is used elsewhere too', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([5, 12, 2, 3]) },
    run: ({ x }) => {
      const y = scale(x, 2);
      return [samples(y, 1, 3), add(y, x), samples(y, 4, 1)];
    },
    reference: ({ x }) => {
      const y = map(x, (value) => 2 * value);
      return [slice(y, 1, 4), zip(y, x, (a, b) => a + b), slice(y, 4, 5)];
    },
    tolerance: tolerance.elementwise,
  }));
});

eachDevice(test, 'samples: shares memory with its source', async (t, device) => {
  const x = device.zeros([4, 3, 2, 2]);
  samples(x, 1, 2).fill(5);
  t.is(sum(await x.data()), 5 * 2 * 12);
});
