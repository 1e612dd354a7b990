import test from 'ava';
import { linear } from '../../lib/index.js';
import { checkOp } from '../support/check-op.js';
import { tolerance } from '../support/compare.js';
import { eachDevice } from '../support/devices.js';
import * as reference from '../support/reference.js';

for (const [n, inner, outer] of [
  [3, 1, 2],
  [1, 8, 5],
  [5, 64, 10],
  [7, 12, 3],
  [33, 5, 24],
  [3, 130, 17],
] as const) {
  eachDevice(test, `linear: ${n} samples, ${inner} to ${outer}`, async (t, device, random) => {
    await checkOp(t, device, random, () => ({
      inputs: {
        x: random.normals([n, inner]),
        weight: random.normals([inner, outer]),
        bias: random.normals([outer]),
      },
      run: ({ x, weight, bias }) => [linear(x, weight, bias)],
      reference: ({ x, weight, bias }) => [reference.linear(x, weight, bias)],
      tolerance: tolerance.sum(inner),
      gradientTolerance: tolerance.sum(Math.max(n, inner, outer)),
    }));
  });
}

eachDevice(test, 'linear: without bias, of a constant input', async (t, device, random) => {
  await checkOp(t, device, random, () => ({
    inputs: { x: { ...random.normals([6, 9]), constant: true }, weight: random.normals([9, 4]) },
    run: ({ x, weight }) => [linear(x, weight, null)],
    reference: ({ x, weight }) => [reference.linear(x, weight, null)],
    tolerance: tolerance.sum(9),
  }));
});
