import test from 'ava';
import { add, type Format, relu, scale } from '../../lib/index.js';
import { map } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

const shapes: { shape: readonly number[]; format?: Format }[] = [
  { shape: [1] },
  { shape: [37] },
  { shape: [3, 5] },
  { shape: [3, 5, 7, 3] },
  { shape: [2, 16, 4, 5] },
  { shape: [2, 3, 5, 3], format: 'plain' },
  { shape: [5, 3, 3, 3], format: 'filter' },
];

for (const { shape, format } of shapes) {
  const form = format ? { format } : {};
  const name = `${format ?? 'default format'} [${shape.join(', ')}]`;

  eachDevice(test, `add: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { a: { ...random.normals(shape), ...form }, b: { ...random.normals(shape), ...form } },
      run: ({ a, b }) => [add(a, b)],
      reference: ({ a, b }) => [reference.add(a, b)],
      tolerance: tolerance.exact,
    }));
  });

  eachDevice(test, `scale: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...form } },
      run: ({ x }) => [scale(x, -0.75)],
      reference: ({ x }) => [map(x, (value) => -0.75 * value)],
      tolerance: tolerance.exact,
    }));
  });

  eachDevice(test, `relu: ${name}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { x: { ...random.normals(shape), ...form } },
      run: ({ x }) => [relu(x)],
      reference: ({ x }) => [reference.relu(x)],
      tolerance: tolerance.exact,
    }));
  });
}

eachDevice(test, 'relu: NaN stays NaN, infinities and zeros', async (t, device) => {
  const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, -1e-40, 1e-40, 3, -3];
  const y = await relu(device.tensor(values)).data();
  const expected = [Number.NaN, Number.POSITIVE_INFINITY, 0, 0, 0, 0, Math.fround(1e-40), 3, 0];
  t.deepEqual(
    [...y].map((value) => value + 0),
    expected,
  );
});
