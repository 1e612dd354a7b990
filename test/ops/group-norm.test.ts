import test from 'ava';
import { add, GroupNorm, groupNorm, scale } from '../../lib/index.js';
import { map } from '../support/array.js';
import { checkOp } from '../support/check-op.js';
import { bits, tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

const cases: { shape: readonly number[]; groups: number }[] = [
  { shape: [3, 5, 7, 3], groups: 1 },
  { shape: [3, 5, 7, 3], groups: 5 },
  { shape: [2, 12, 5, 5], groups: 4 },
  { shape: [2, 12, 3, 5], groups: 3 },
  { shape: [3, 16, 4, 6], groups: 4 },
  { shape: [2, 16, 3, 3], groups: 16 },
  { shape: [1, 24, 5, 7], groups: 2 },
  { shape: [5, 24, 3, 3], groups: 8 },
  { shape: [3, 1, 3, 3], groups: 1 },
  { shape: [6, 12], groups: 2 },
  { shape: [5, 24], groups: 3 },
];

for (const { shape, groups } of cases) {
  for (const relu of [false, true]) {
    eachDevice(test, `groupNorm: [${shape}], ${groups} groups${relu ? ', relu' : ''}`, async (t, device, random) => {
      await checkOp(t, device, random, () => ({
        inputs: {
          x: random.normals(shape, 0.5, 1.5),
          gamma: random.normals([shape[1]!], 1, 0.3),
          beta: random.normals([shape[1]!]),
        },
        run: ({ x, gamma, beta }) => [groupNorm(x, groups, { gamma, beta }, { relu, epsilon: 1e-3 })],
        reference: ({ x, gamma, beta }) => [reference.groupNorm(x, groups, { gamma, beta, relu, epsilon: 1e-3 })],
        tolerance: tolerance.normalization,
      }));
    });
  }
}

eachDevice(test, 'groupNorm: without gamma and beta, its input used elsewhere too', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: random.normals([3, 12, 4, 3]) },
    run: ({ x }) => {
      const doubled = scale(x, 2);
      return [add(groupNorm(doubled, 4, { gamma: null, beta: null }), doubled)];
    },
    reference: ({ x }) => {
      const doubled = map(x, (value) => 2 * value);
      return [reference.add(reference.groupNorm(doubled, 4), doubled)];
    },
    tolerance: tolerance.normalization,
  }));
});

eachDevice(test, 'GroupNorm: the same in training and inference', async (t, device, random) => {
  const norm = new GroupNorm(device, 4, 12, { relu: true });
  const x = device.tensor(Float32Array.from(random.normals([2, 12, 3, 3]).data), [2, 12, 3, 3]);
  const training = bits(await norm.forward(x).data());
  norm.eval();
  t.is(bits(await norm.forward(x).data()), training);
  t.deepEqual([...norm.namedBuffers()], []);
});
