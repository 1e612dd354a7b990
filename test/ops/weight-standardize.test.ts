import test from 'ava';
import { weightCenter, weightStandardize } from '../../lib/index.js';
import { ndarray } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import { weightCenter as centered, weightStandardize as reference } from '../support/reference-rivals.js';

// Channels that fill accesses of eight on both sides, on one, on none; a single tap, a single input, a long row.
for (const shape of [
  [16, 16, 3, 3],
  [8, 3, 3, 3],
  [5, 8, 3, 3],
  [3, 5, 1, 1],
  [24, 1, 5, 3],
  [1, 40, 3, 3],
] as const) {
  for (const gain of [undefined, 1.7]) {
    eachDevice(test, `weightStandardize: [${shape}]${gain ? `, gain ${gain}` : ''}`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: { weight: { ...random.normals(shape, 0.3, 0.2), format: 'filter' } },
        run: ({ weight }) => [weightStandardize(weight, { epsilon: 1e-3, ...(gain && { gain }) })],
        reference: ({ weight }) => [reference(weight, { epsilon: 1e-3, ...(gain && { gain }) })],
        tolerance: tolerance.normalization,
      }));
    });
  }
  eachDevice(test, `weightCenter: [${shape}]`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: { weight: { ...random.normals(shape, 0.3, 0.2), format: 'filter' } },
      run: ({ weight }) => [weightCenter(weight)],
      reference: ({ weight }) => [centered(weight)],
      tolerance: tolerance.normalization,
      // A single weight is its own mean.
      scale: 1,
    }));
  });
}

eachDevice(test, 'weightStandardize: equal weights become zeros', async (t, device) => {
  const weight = device.tensor(new Float32Array(8 * 3 * 9).fill(0.5), [8, 3, 3, 3], { format: 'filter' });
  t.true((await weightStandardize(weight).data()).every((value) => value === 0));
});

eachDevice(test, 'weightStandardize: what it refuses', (t, device, random) => {
  const weight = (format: 'filter' | 'activation') =>
    device.tensor(Float32Array.from(random.normals([8, 3, 3, 3]).data), [8, 3, 3, 3], { format });
  const refused = (body: () => unknown, message: RegExp) => t.throws(body, { name: 'KalmanNormError', message });
  refused(() => weightStandardize(weight('activation')), /weightStandardize: weight must be a filter/);
  refused(() => weightStandardize(weight('filter'), { epsilon: 0 }), /epsilon must be a positive number, got 0/);
  refused(() => weightStandardize(weight('filter'), { gain: -1 }), /gain must be a positive number, got -1/);
  refused(() => weightCenter(device.ones([8, 3])), /weightCenter: weight must have shape .*, got \[8, 3\]/);
});

test('reference: weights by hand', (t) => {
  const weight = ndarray([1, 2, 1, 1], [1, 3]);
  t.deepEqual([...reference(weight, { epsilon: 0 }).data], [-1, 1]);
  t.deepEqual(
    [...reference(weight, { epsilon: 0, gain: 2 }).data].map((value) => value.toFixed(6)),
    ['-1.414214', '1.414214'],
  );
});
